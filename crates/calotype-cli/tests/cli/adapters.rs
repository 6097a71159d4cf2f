//! What changes a model beside its own files: LoRAs of every method, and learned words, alone and with them.

use std::fs;
use std::path::{Path, PathBuf};

use calotype::files::{NamedTensor, safetensors};

use super::checkpoints::{golden, latents, ramp};
use super::support::TempDir;
use super::weight_files::{state_dict, torch_save, under};
use super::{assert_says, fails, pixels, stderr, succeeds};

/// `[16, 32]` in the small Stable Diffusion 1.
const VALUES: &str = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_v";
/// `[16, 16, 3, 3]`.
const CONV: &str = "lora_unet_mid_block_resnets_0_conv1";
/// `[8]`.
const NORM: &str = "lora_unet_conv_norm_out";

fn tensor(name: &str, shape: &[usize]) -> NamedTensor {
    ramp(name, shape, 0.1)
}

fn layer(stem: &str, tensors: &[(&str, &[usize])]) -> Vec<NamedTensor> {
    tensors.iter().map(|(ending, shape)| tensor(&format!("{stem}.{ending}"), shape)).collect()
}

fn lora() -> Vec<NamedTensor> {
    layer(VALUES, &[("lora_down.weight", &[2, 32]), ("lora_up.weight", &[16, 2])])
}

fn write(dir: &TempDir, file: &str, tensors: &[NamedTensor]) {
    safetensors::write(&dir.join(file), tensors).unwrap();
}

/// LyCORIS' (IA)³ of one layer, whose `on_input` is a bool.
fn ia3(channels: usize, on_input: u8) -> Vec<u8> {
    let header = format!(
        r#"{{"{VALUES}.weight":{{"dtype":"F32","shape":[{channels}],"data_offsets":[0,{0}]}},
        "{VALUES}.on_input":{{"dtype":"BOOL","shape":[1],"data_offsets":[{0},{1}]}}}}"#,
        channels * 4,
        channels * 4 + 1
    );
    let factors = (0..channels).flat_map(|i| (0.5 - i as f32 * 0.1).to_le_bytes());
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.bytes().chain(factors).chain([on_input]));
    file
}

/// A picture of a prompt, and what was said.
fn picture(dir: &TempDir, model: &str, prompt: &str, more: &[&str]) -> (Vec<u8>, String) {
    let args = ["generate", prompt, "--model", model, "--steps", "2", "--out", "p.png"];
    let said = stderr(&succeeds(dir, &[&args, more].concat()));
    (pixels(&dir.join("p.png")), said)
}

/// The message for a model and more options that do not fit it.
fn refused(dir: &TempDir, model: &str, more: &[&str]) -> String {
    fails(
        dir,
        1,
        &[&["generate", "a sks", "--model", model, "--steps", "1", "--out", "p.png"], more].concat(),
    )
}

#[test]
fn every_method_changes_the_picture_as_far_as_its_strength_says() {
    let (dir, model) = (TempDir::new(), golden("sd1"));
    let plain = latents(&dir, &model, &[]);
    dir.write("ia3-out.safetensors", ia3(16, 0));
    dir.write("ia3-in.safetensors", ia3(32, 1));
    let loha = [
        ("hada_w1_a", &[16, 2][..]),
        ("hada_w1_b", &[2, 32]),
        ("hada_w2_a", &[16, 2]),
        ("hada_w2_b", &[2, 32]),
    ];
    let lokr = [
        ("lokr_w1", &[4, 2][..]),
        ("lokr_w2_a", &[2, 4]),
        ("lokr_w2_b", &[2, 8]),
        ("lokr_t2", &[2, 2, 3, 3]),
    ];
    let dora = [
        ("lora_down.weight", &[2, 16, 3, 3][..]),
        ("lora_up.weight", &[16, 2, 1, 1]),
        ("dora_scale", &[1, 16, 1, 1]),
    ];
    write(&dir, "loha.safetensors", &layer(VALUES, &loha));
    write(&dir, "lokr.safetensors", &layer(CONV, &lokr));
    write(&dir, "dora.safetensors", &layer(CONV, &dora));
    write(&dir, "diff.safetensors", &layer(CONV, &[("diff", &[16, 16, 3, 3]), ("diff_b", &[16])]));
    write(&dir, "norm.safetensors", &layer(NORM, &[("w_norm", &[8]), ("b_norm", &[8])]));
    for method in ["ia3-out", "ia3-in", "loha", "lokr", "dora", "diff", "norm"] {
        let with =
            |strength: &str| latents(&dir, &model, &["--lora", &format!("{method}.safetensors:{strength}")]);
        assert_ne!(with("1"), plain, "{method}");
        assert_eq!(with("0"), plain, "{method}");
    }
    succeeds(&dir, &["convert", &model, "wide", "--dtype", "f32"]);
    succeeds(&dir, &["convert", "wide", "merged", "--lora", "lokr.safetensors:0.5"]);
    let merged = latents(&dir, "merged", &[]);
    assert_eq!(merged, latents(&dir, "wide", &["--lora", "lokr.safetensors:0.5"]));
}

#[test]
fn what_a_file_has_too_much_is_warned_of_and_what_it_lacks_is_an_error() {
    let (dir, model) = (TempDir::new(), golden("sd1"));
    let loha: [(&str, &[usize]); 4] =
        [("hada_w1_a", &[16, 2]), ("hada_w1_b", &[2, 32]), ("hada_w2_a", &[16, 2]), ("hada_w2_b", &[2, 32])];
    write(&dir, "more.safetensors", &[lora(), layer("lora_unet_mid_block_nowhere", &loha)].concat());
    let (_, said) = picture(&dir, &model, "a cat", &["--lora", "more.safetensors"]);
    assert_says(
        &said,
        &["1 layers", "4 of its tensors have no layer here, `lora_unet_mid_block_nowhere.hada_w1_a`"],
    );
    let with_nan = NamedTensor { name: format!("{VALUES}.alpha"), shape: vec![], values: vec![f32::NAN] };
    let oft = tensor(&format!("{CONV}.oft_blocks"), &[2, 8, 8]);
    dir.write("ia3.safetensors", ia3(32, 0));
    write(&dir, "half.safetensors", &layer(VALUES, &loha[..3]));
    write(&dir, "wide.safetensors", &layer(VALUES, &[&loha[..3], &[("hada_w2_b", &[2, 56])]].concat()));
    write(&dir, "nan.safetensors", &[lora(), vec![with_nan]].concat());
    write(&dir, "oft.safetensors", &[oft]);
    write(&dir, "word.safetensors", &[tensor("emb_params", &[2, 32])]);
    for (file, said) in [
        ("ia3", &["weight", "expected 16 numbers for the channels of the output, got 32"][..]),
        ("half", &["hada_w1_a", "no `hada_w2_b` beside it"]),
        ("wide", &["hada_w2_b", "a matrix of 16 x 32", "[2, 56]"]),
        ("nan", &[".alpha` has NaN or infinity", "hint: its training has diverged"]),
        ("oft", &[".oft_blocks", "OFT"]),
        ("word", &["none of its 1 tensors", "hint: it is a learned word"]),
    ] {
        let file = format!("{file}.safetensors");
        assert_says(&refused(&dir, &model, &["--lora", &file]), &[&[&file[..]], said].concat());
    }
}

/// The folder of a small transformer of Flux, whose tokens have 8 numbers.
fn flux(dir: &TempDir) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../calotype/tests/golden/flux.safetensors");
    let own = |tensor: NamedTensor| {
        Some(NamedTensor { name: tensor.name.strip_prefix("param.")?.to_owned(), ..tensor })
    };
    let tensors: Vec<_> = safetensors::read(&path).unwrap().into_values().filter_map(own).collect();
    dir.write("flux/config.json", &safetensors::read_metadata(&path).unwrap()["config"]);
    write(dir, "flux/diffusion_pytorch_model.safetensors", &tensors);
}

#[test]
fn loras_of_flux_change_flux_alone() {
    let dir = TempDir::new();
    flux(&dir);
    let qkv = |block| {
        let stem = format!("lora_unet_double_blocks_{block}_img_attn_qkv");
        layer(&stem, &[("lora_down.weight", &[2, 16]), ("lora_up.weight", &[48, 2])])
    };
    write(&dir, "film.safetensors", &[qkv(0), qkv(7)].concat());
    let said = stderr(&succeeds(&dir, &["convert", "flux", "merged", "--lora", "film.safetensors:0.5"]));
    assert_says(
        &said,
        &["2 of its tensors have no layer here, `lora_unet_double_blocks_7_img_attn_qkv.lora_down.weight`"],
    );
    let weights = |folder: &str| {
        safetensors::read(&dir.join(folder).join("diffusion_pytorch_model.safetensors")).unwrap()
    };
    let (before, after) = (weights("flux"), weights("merged"));
    let mut changed: Vec<&String> = before.keys().filter(|name| before[*name] != after[*name]).collect();
    changed.sort();
    assert_eq!(
        changed,
        ["k", "q", "v"].map(|x| format!("transformer_blocks.0.attn.to_{x}.weight")).each_ref()
    );
    let control = [("lora_A.weight", &[2, 16][..]), ("lora_B.weight", &[16, 2])];
    write(&dir, "control.safetensors", &layer("img_in", &control));
    write(&dir, "sd.safetensors", &lora());
    for (file, said) in [
        ("control", ["expected [rank, 8], got [2, 16]", "whose in_channels is 16"]),
        ("sd", ["is of a U-Net", "hint: take the model that it was trained for"]),
    ] {
        let file = format!("{file}.safetensors");
        assert_says(&fails(&dir, 1, &["convert", "flux", "none", "--lora", &file]), &said);
    }
    let hint = "hint: take the model that it was trained for";
    assert_says(
        &refused(&dir, &golden("sd1"), &["--lora", "film.safetensors"]),
        &["a diffusion transformer (Flux); the model's denoiser is a U-Net", hint],
    );
}

#[test]
fn a_word_in_a_loras_file_is_learned_with_it() {
    for (model, rows) in
        [("sd1", &[("emb_params", &[2, 32])][..]), ("sdxl", &[("clip_l", &[2, 24]), ("clip_g", &[2, 32])])]
    {
        let (dir, model) = (TempDir::new(), golden(model));
        let width = if model.ends_with("sdxl") { 56 } else { 32 };
        let lora = layer(VALUES, &[("lora_down.weight", &[2, width]), ("lora_up.weight", &[16, 2])]);
        let bundled: Vec<NamedTensor> =
            rows.iter().map(|(n, shape)| tensor(&format!("bundle_emb.sks.{n}"), *shape)).collect();
        let alone: Vec<NamedTensor> = rows.iter().map(|(n, shape)| tensor(n, *shape)).collect();
        write(&dir, "lora.safetensors", &lora);
        write(&dir, "sks.safetensors", &alone);
        write(&dir, "both.safetensors", &[&lora[..], &bundled].concat());
        write(&dir, "words.safetensors", &bundled);
        let of = |prompt: &str, more: &[&str]| picture(&dir, &model, prompt, more);
        let (with_word, said) = of("a photo of sks", &["--lora", "both.safetensors"]);
        assert_says(&said, &["both.safetensors: 1 layers", "both.safetensors: `sks`"]);
        assert!(!said.contains("warning"), "{said}");
        let separate = ["--lora", "lora.safetensors", "--embedding", "sks.safetensors"];
        assert_eq!(with_word, of("a photo of sks", &separate).0);
        assert_ne!(with_word, of("a photo of sks", &separate[..2]).0);
        let (_, said) = of("a photo", &["--lora", "both.safetensors"]);
        assert_says(&said, &["warning: the learned word \"sks\" has no effect"]);
        assert_says(
            &of("a sks", &["--lora", "words.safetensors"]).1,
            &["words.safetensors: 0 layers", "`sks`"],
        );
        let again = ["--lora", "both.safetensors", "--lora", "./both.safetensors:-1"];
        assert_says(
            &of("a sks", &again).1,
            &["both.safetensors: 1 layers, weight -1", "both.safetensors: `sks`"],
        );
        let twice = ["--lora", "both.safetensors", "--embedding", "sks.safetensors"];
        assert_says(&refused(&dir, &model, &twice), &["sks.safetensors", "`sks` is learned already"]);
        let said = stderr(&succeeds(&dir, &["convert", &model, "merged", "--lora", "both.safetensors"]));
        assert_says(&said, &["warning: the word `sks` in both.safetensors is left out"]);
    }
}

#[test]
fn a_word_for_another_model_is_refused_with_the_model_it_is_for() {
    let dir = TempDir::new();
    let nan = NamedTensor { name: "emb_params".into(), shape: vec![1, 32], values: vec![f32::NAN; 32] };
    for (file, tensors) in [
        ("xl", vec![tensor("clip_l", &[2, 768]), tensor("clip_g", &[2, 1280])]),
        ("sd2", vec![tensor("emb_params", &[2, 1024])]),
        ("sd1", vec![tensor("emb_params", &[1, 768])]),
        ("nan", vec![nan]),
        ("empty", vec![tensor("emb_params", &[1, 0])]),
        ("lora", lora()),
        ("uneven", vec![tensor("clip_l", &[2, 24]), tensor("clip_g", &[1, 32])]),
        ("bundle", [lora(), vec![tensor("bundle_emb.sks.emb_params", &[2, 31])]].concat()),
    ] {
        write(&dir, &format!("{file}.safetensors"), &tensors);
    }
    for (model, option, file, said) in [
        ("sd1", "--embedding", "xl", &["it is for Stable Diffusion XL"][..]),
        (
            "sd1",
            "--embedding",
            "sd2",
            &["rows of 32, the text encoder's width", "it is for Stable Diffusion 2"],
        ),
        ("sd1", "--embedding", "sd1", &["it is for Stable Diffusion 1"]),
        (
            "sd1",
            "--embedding",
            "nan",
            &["`emb_params` has NaN or infinity", "hint: its training has diverged"],
        ),
        ("sd1", "--embedding", "empty", &["rows of 32", "got [1, 0]"]),
        ("sd1", "--embedding", "lora", &["several tensors", "hint: it changes a model"]),
        (
            "sdxl",
            "--embedding",
            "sd1",
            &["`clip_l` and `clip_g` for the model's two, got `emb_params` alone"],
        ),
        ("sdxl", "--embedding", "uneven", &["as many rows for both text encoders"]),
        ("sdxl", "--embedding", "xl", &["`clip_l`", "rows of 24", "[2, 768]"]),
        ("sd1", "--lora", "bundle", &["the word `sks`", "rows of 32", "[2, 31]"]),
    ] {
        let file = format!("{file}.safetensors");
        assert_says(&refused(&dir, &golden(model), &[option, &file]), &[&[&file[..]], said].concat());
    }
}

#[test]
fn webuis_and_diffusers_pickles_of_a_word() {
    let (dir, model) = (TempDir::new(), golden("sd1"));
    let rows = |name: &str| [tensor(name, &[2, 32])];
    write(&dir, "mystyle.safetensors", &rows("emb_params"));
    let prompt = "a photo of mystyle";
    let expected = picture(&dir, &model, prompt, &["--embedding", "mystyle.safetensors"]).0;
    assert_ne!(expected, picture(&dir, &model, prompt, &[]).0);
    for name in ["*", "sks", "a.b"] {
        let dict = under("string_to_param", &state_dict(&rows(name), 0));
        dir.write("mystyle.pt", torch_save(&dict, &rows(name)));
        let (got, said) = picture(&dir, &model, prompt, &["--embedding", "mystyle.pt"]);
        assert_says(&said, &["mystyle.pt: `mystyle`"]);
        assert_eq!(got, expected, "{name}");
    }
    dir.write("learned_embeds.bin", torch_save(&state_dict(&rows("<cat-toy>"), 0), &rows("<cat-toy>")));
    let (got, said) = picture(&dir, &model, "a photo of <cat-toy>", &["--embedding", "learned_embeds.bin"]);
    assert_says(&said, &["learned_embeds.bin: `<cat-toy>`"]);
    assert_eq!(got, expected);
}

#[test]
#[ignore = "needs CALOTYPE_TEST_DATA"]
fn words_of_public_reports() {
    let (dir, model) = (TempDir::new(), golden("sd1"));
    let data = std::env::var_os("CALOTYPE_TEST_DATA").expect("see CONTRIBUTING.md");
    let reports = PathBuf::from(data).join("reports");
    for file in [
        "04-ti-param-name/mystyle.pt",
        "17-embedding-messages/for_xl.safetensors",
        "17-embedding-messages/nan.safetensors",
    ] {
        let from = reports.join(file);
        fs::copy(&from, dir.join(from.file_name().unwrap().to_str().unwrap())).unwrap();
    }
    let (_, said) = picture(&dir, &model, "a photo of mystyle", &["--embedding", "mystyle.pt"]);
    assert_says(&said, &["mystyle.pt: `mystyle`"]);
    assert!(!said.contains("warning"), "{said}");
    assert_says(
        &refused(&dir, &model, &["--embedding", "for_xl.safetensors"]),
        &["it is for Stable Diffusion XL"],
    );
    assert_says(&refused(&dir, &model, &["--embedding", "nan.safetensors"]), &["has NaN", "hint: "]);
}
