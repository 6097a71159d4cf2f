//! What is not applied, and what the message says.

use super::*;
use crate::model::ComponentKind;

fn message(tensors: &Shapes, metadata: &[(&str, &str)], model: &Model) -> String {
    let metadata = metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    read(tensors, &metadata, model).unwrap_err().to_string()
}

#[track_caller]
fn says(message: &str, pieces: &[&str]) {
    for piece in pieces {
        assert!(message.contains(piece), "no `{piece}` in: {message}");
    }
}

fn one_layer(stem: &str, down: &[usize], up: &[usize]) -> Shapes {
    [(".lora_down.weight", down), (".lora_up.weight", up)]
        .map(|(ending, shape)| (format!("{stem}{ending}"), shape.to_vec()))
        .into()
}

#[test]
fn other_methods_than_lora() {
    let (model, case) = golden_case("sd1", "kohya");
    for (name, method) in [
        ("lora_unet_conv_in.oft_blocks", "OFT"),
        ("lora_unet_conv_in.boft_R", "BOFT"),
        ("lora_unet_conv_in.a1.weight", "GLoRA"),
        ("lora_unet_conv_in.b2.weight", "GLoRA"),
        ("lora_unet_conv_in.lambda_layer", "T-LoRA"),
        ("lora_unet_conv_in.lokr_t1", "LoKr with a kernel in its first matrix"),
        ("base_model.model.conv_in.ia3_l", "PEFT's (IA)³"),
        ("base_model.model.conv_in.vera_lambda_b", "VeRA"),
    ] {
        let mut tensors = case.tensors.clone();
        tensors.insert(name.to_owned(), vec![1]);
        says(&message(&tensors, &[], &model), &[name, method, "style.safetensors"]);
    }
    let ours = one_layer("diffusion_model.out.2", &[2, 8, 3, 3], &[4, 2, 1, 1]);
    assert_eq!(
        read(&ours, &BTreeMap::new(), &model).unwrap().entries[0].target.to_string(),
        "conv_out.weight"
    );
}

#[test]
fn diffusion_transformers() {
    let (model, _) = golden_case("sd1", "kohya");
    for (stem, family) in [
        ("transformer.single_transformer_blocks.0.attn.to_q", "Flux"),
        ("transformer.transformer_blocks.0.attn.to_q", "Stable Diffusion 3"),
        ("lora_unet_double_blocks_0_img_attn_qkv", "Flux"),
        ("lora_unet_joint_blocks_0_x_block_attn_qkv", "Stable Diffusion 3"),
    ] {
        says(&message(&one_layer(stem, &[2, 8], &[8, 2]), &[], &model), &[stem, family]);
    }
}

#[test]
fn another_model_of_the_same_names() {
    let (_, case) = golden_case("sdxl", "kohya");
    let (sd1, _) = golden_case("sd1", "kohya");
    // Of the tiny XL's layers, those of the mid block are in the tiny 1 too, and differ.
    says(&message(&case.tensors, &[], &sd1), &["mid_block", "another model (context width 32)", "(12)"]);

    let key = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k";
    let model: Model = [(ComponentKind::Unet, [(format!("{key}.weight"), vec![640, 768])].into())].into();
    let stem = format!("lora_unet_{}", key.replace('.', "_"));
    let got = message(&one_layer(&stem, &[4, 2048], &[640, 4]), &[], &model);
    says(
        &got,
        &[&stem, key, "expected [rank, 768], got [4, 2048]", "Stable Diffusion XL (context width 2048)"],
    );
    says(&got, &["the model like Stable Diffusion 1 (768)"]);
}

#[test]
fn shapes_that_do_not_fit() {
    let (model, _) = golden_case("sd1", "kohya");
    for (down, up, tensor) in [
        (&[2, 4, 3, 3][..], &[8, 3, 1, 1][..], "lora_up"),
        (&[2, 4, 3, 3], &[9, 2, 1, 1], "lora_up"),
        (&[2, 4, 1, 1], &[8, 2, 1, 1], "lora_down"),
        (&[0, 4, 3, 3], &[8, 0, 1, 1], "lora_down"),
        (&[], &[], "lora_down"),
    ] {
        says(&message(&one_layer("lora_unet_conv_in", down, up), &[], &model), &[tensor, "conv_in.weight"]);
    }
    let mut tensors = one_layer("lora_unet_conv_in", &[2, 4, 3, 3], &[8, 2, 1, 1]);
    tensors.insert("lora_unet_conv_in.alpha".into(), vec![2]);
    says(&message(&tensors, &[], &model), &["lora_unet_conv_in.alpha", "one number"]);
}

#[test]
fn incomplete_or_doubled_layers() {
    let (model, case) = golden_case("sd1", "kohya");
    for (ending, missing) in [("lora_up.weight", "`up`"), ("lora_down.weight", "`down`")] {
        let mut tensors = case.tensors.clone();
        tensors.remove(&format!("lora_unet_conv_in.{ending}"));
        says(&message(&tensors, &[], &model), &["lora_unet_conv_in.", missing]);
    }
    let mut tensors = case.tensors.clone();
    tensors.extend(one_layer("unet.conv_in", &[2, 4, 3, 3], &[8, 2, 1, 1]));
    says(&message(&tensors, &[], &model), &["unet.conv_in", "two of its layers change `conv_in.weight`"]);
    let mut tensors = one_layer("unet.conv_in", &[2, 4, 3, 3], &[8, 2, 1, 1]);
    tensors.insert("unet.conv_in.lora_A.weight".into(), vec![2, 4, 3, 3]);
    says(&message(&tensors, &[], &model), &["the same tensor"]);
}

#[test]
fn files_of_nothing_known() {
    let (model, _) = golden_case("sd1", "kohya");
    for word in ["string_to_param.*", "emb_params", "clip_l", "<cat-toy>"] {
        let word: Shapes = [(word.to_owned(), vec![2, 12])].into();
        let error = read(&word, &BTreeMap::new(), &model).unwrap_err();
        assert!(error.hint().is_some_and(|hint| hint.contains("embedding")), "{error}");
    }
    says(&message(&Shapes::new(), &[], &model), &["none of its 0 tensors"]);
    let weights: Shapes = [("encoder.conv_in.weight".to_owned(), vec![8, 4, 3, 3])].into();
    says(&message(&weights, &[], &model), &["none of its 1 tensors", "encoder.conv_in.weight"]);
}

#[test]
fn a_layer_of_either_text_encoder() {
    let (model, _) = golden_case("sdxl", "kohya");
    let stem = "base_model.model.text_model.encoder.layers.0.mlp.fc1";
    says(&message(&one_layer(stem, &[2, 12], &[24, 2]), &[], &model), &[stem, "both text encoders"]);
}

#[test]
fn metadata_that_cannot_be_used() {
    let (model, case) = golden_case("sd1", "diffusers peft");
    for (text, piece) in [
        ("{", "EOF"),
        (r#"{"unet.use_dora": true}"#, "`use_dora` is true, and `down_blocks"),
        (r#"{"peft_type": "LOHA"}"#, "LOHA"),
        (r#"{"unet.lora_alpha": "big"}"#, "big"),
        (r#"{"unet.alpha_pattern": {".*to_k": 2}}"#, "regular expression"),
    ] {
        says(
            &message(&case.tensors, &[("lora_adapter_metadata", text)], &model),
            &["lora_adapter_metadata", piece],
        );
    }
}

#[test]
fn numbers_of_another_model() {
    let (model, mut case) = golden_case("sd1", "cloneofsimo");
    says(&message(&case.tensors, &[("unet", r#"["MyBlock"]"#)], &model), &["MyBlock"]);
    says(&message(&case.tensors, &[("unet", "GEGLU")], &model), &["metadata `unet`"]);
    case.tensors.insert("unet:54:down".into(), vec![2, 8]);
    case.tensors.insert("unet:54:up".into(), vec![8, 2]);
    let classes = [("unet", r#"["Attention", "GEGLU"]"#)];
    says(&message(&case.tensors, &classes, &model), &["numbers 55 layers of `unet`", "has 54"]);
    case.tensors.remove("unet:54:down");
    case.tensors.remove("unet:54:up");
    case.tensors.insert("unet:6:down".into(), vec![2, 77]);
    says(&message(&case.tensors, &classes, &model), &["unet:6:down", "[2, 77]"]);
}
