//! Against diffusers' own converters: `tests/golden/single_file_keys.json`.

use crate::model::ComponentKind;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde_json::{Value, json};

use super::*;

mod refusals;

type FileShapes = BTreeMap<String, Vec<usize>>;

static GOLDEN: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../../tests/golden/single_file_keys.json")).expect("golden JSON")
});

const CASES: [&str; 4] = ["sd1", "inpainting", "sd2", "sdxl"];
const CONV_IN: &str = "model.diffusion_model.input_blocks.0.0.weight";

/// One key of a case: where it goes by diffusers.
struct Key {
    component: ComponentKind,
    key: String,
    shape: Vec<usize>,
    names: Vec<String>,
    how: String,
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string").into()
}

fn keys(case: &str) -> Vec<Key> {
    let case = &GOLDEN["cases"][case];
    let mut keys = Vec::new();
    for component in ComponentKind::ALL {
        let Some(name) = case["parts"].get(component.folder()) else { continue };
        for entry in GOLDEN["parts"][&text(name)]["keys"].as_array().expect("a list") {
            keys.push(Key {
                component,
                key: text(&case["prefixes"][component.folder()]) + &text(&entry[0]),
                shape: serde_json::from_value(entry[1].clone()).expect("a shape"),
                names: serde_json::from_value(entry[2].clone()).expect("names"),
                how: text(&entry[3]),
            });
        }
    }
    keys
}

/// A whole file, with what is not needed.
fn file(case: &str) -> FileShapes {
    let mut shapes: FileShapes = keys(case).into_iter().map(|key| (key.key, key.shape)).collect();
    for key in GOLDEN["cases"][case]["unneeded"].as_array().expect("a list") {
        let key = text(key);
        let shape = if key.ends_with(".text_projection") { vec![64, 64] } else { vec![1] };
        shapes.insert(key, shape);
    }
    if case == "inpainting" {
        shapes.insert(CONV_IN.into(), vec![32, 9, 3, 3]);
    }
    shapes
}

fn recognised(case: &str) -> Recognised {
    recognise(&file(case)).unwrap_or_else(|reason| panic!("{case}: {reason}"))
}

#[test]
fn every_key_goes_where_diffusers_puts_it_and_comes_back() {
    for case in CASES {
        let recognised = recognised(case);
        let mut seen = BTreeSet::new();
        for Key { component, key, shape, names, how } in keys(case) {
            let targets = from_single_file(&key, &recognised);
            let got: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
            assert_eq!(got, names, "{case}: {key}");
            for (i, target) in targets.iter().enumerate() {
                let change = match how.as_str() {
                    "thirds" => Change::Third(i),
                    "squeeze" => Change::Squeeze,
                    "transpose" => Change::Transpose,
                    _ => Change::None,
                };
                assert_eq!((target.component, target.change), (component, change), "{case}: {key}");
                assert!(change.shape(&shape).is_ok(), "{case}: {key} {shape:?}");
                assert!(seen.insert((component, target.name.clone())), "{case}: {} twice", target.name);
                let source = Source { key: key.clone(), change };
                assert_eq!(to_single_file(component, &target.name, &recognised.layout), Some(source.clone()));
                let bare = target.name.trim_start_matches("text_model.");
                assert_eq!(
                    to_single_file(component, bare, &recognised.layout),
                    Some(source),
                    "{case}: {bare}"
                );
            }
        }
    }
}

#[test]
fn configs_are_derived_from_shapes() {
    for case in CASES {
        let golden = &GOLDEN["cases"][case];
        let recognised = recognised(case);
        assert_eq!(recognised.architecture.to_string(), golden["architecture"], "{case}");
        assert_eq!(recognised.inpainting, golden["inpainting"], "{case}");
        let configs = &recognised.configs;
        assert_eq!(configs.vae["scaling_factor"], golden["scaling_factor"], "{case}");
        assert_eq!(configs.scheduler["_class_name"], golden["scheduler"], "{case}");
        assert_eq!(configs.scheduler["prediction_type"], golden["prediction"], "{case}");
        let of_part = [
            (ComponentKind::Unet, Some(&configs.unet)),
            (ComponentKind::Vae, Some(&configs.vae)),
            (ComponentKind::TextEncoder, Some(&configs.text_encoder)),
            (ComponentKind::TextEncoder2, configs.text_encoder_2.as_ref()),
        ];
        for (component, derived) in of_part {
            let name = golden["parts"].get(component.folder());
            assert_eq!(name.is_some(), derived.is_some(), "{case}: {component:?}");
            let (Some(name), Some(derived)) = (name, derived) else { continue };
            for (key, value) in GOLDEN["parts"][&text(name)]["config"].as_object().expect("a config") {
                // The pictures of training are told by the family.
                if key != "sample_size" {
                    assert_eq!(derived[key], *value, "{case}: {component:?} {key}");
                }
            }
        }
    }
    assert_eq!(recognised("inpainting").configs.unet["in_channels"], 9);
    // 512, 768 and 1024 pixels by an autoencoder of three levels.
    let sides = ["sd1", "sd2", "sdxl"].map(|case| recognised(case).configs.unet["sample_size"].clone());
    assert_eq!(sides, [json!(128), json!(192), json!(256)]);
}

#[test]
fn what_is_not_needed_is_told_from_what_is_unknown() {
    for case in CASES {
        let recognised = recognised(case);
        let mut shapes = file(case);
        for key in GOLDEN["cases"][case]["unneeded"].as_array().expect("a list") {
            assert!(from_single_file(&text(key), &recognised).is_empty(), "{case}: {key}");
            assert!(is_unneeded(&text(key), &recognised.layout), "{case}: {key}");
        }
        assert_eq!(unexpected(&shapes, &recognised), [""; 0], "{case}");
        let unknown = [
            "first_stage_model.decoder.up.3.block.0.norm1.weight",
            "first_stage_model.encoder.mid.block_3.norm1.weight",
            "model.diffusion_model.input_blocks.1.0.in_layers.1.weight",
            "model.diffusion_model.input_blocks.999999999999.0.in_layers.0.weight",
            "model.diffusion_model.middle_block.1.transformer_blocks.0.attn1.to_q.bias",
            "model.diffusion_model.output_blocks.01.0.in_layers.0.weight",
            "something.else",
        ];
        for key in unknown {
            shapes.insert(key.into(), vec![1]);
        }
        assert_eq!(unexpected(&shapes, &recognised), unknown, "{case}");
    }
    let overflowing = "up_blocks.18446744073709551615.resnets.0.conv1.weight";
    assert!(to_single_file(ComponentKind::Unet, overflowing, &recognised("sd1").layout).is_none());
    // What only SDXL has is unknown to the others.
    assert!(
        to_single_file(ComponentKind::TextEncoder2, "text_projection.weight", &recognised("sd1").layout)
            .is_none()
    );
    let label = "model.diffusion_model.label_emb.0.0.weight";
    assert!(from_single_file(label, &recognised("sd1")).is_empty());
}

#[test]
fn other_spellings_are_understood() {
    let one = recognised("sd1");
    let name =
        |key: &str, of: &Recognised| from_single_file(key, of).first().map(|target| target.name.clone());
    let embedding = Some("text_model.embeddings.token_embedding.weight".to_owned());
    assert_eq!(name("cond_stage_model.transformer.embeddings.token_embedding.weight", &one), embedding);
    assert_eq!(name("vae.decoder.conv_in.bias", &one), Some("decoder.conv_in.bias".into()));
    // SD-Turbo.
    let shapes = file("sd2").into_iter();
    let shapes = shapes
        .map(|(key, shape)| (key.replace("cond_stage_model.", "conditioner.embedders.0."), shape))
        .collect();
    let turbo = recognise(&shapes).expect("SD-Turbo");
    assert_eq!(turbo.architecture, Architecture::StableDiffusion2);
    assert_eq!(name("conditioner.embedders.0.model.token_embedding.weight", &turbo), embedding);
    assert_eq!(unexpected(&shapes, &turbo), [""; 0]);
    let old = "encoder.mid_block.attentions.0.proj_attn.weight";
    let source = to_single_file(ComponentKind::Vae, old, &one.layout).expect("an old name");
    assert_eq!(source.key, "first_stage_model.encoder.mid.attn_1.proj_out.weight");
    assert_eq!(source.change, Change::Squeeze);
}

#[test]
fn sd_2_drops_the_last_layer_of_a_whole_tower_only() {
    let layers = |shapes: &FileShapes| {
        recognise(shapes).expect("SD 2").configs.text_encoder["num_hidden_layers"].clone()
    };
    let mut shapes = file("sd2");
    assert_eq!(layers(&shapes), 2);
    shapes.remove("cond_stage_model.model.text_projection");
    assert_eq!(layers(&shapes), 3);
    for layer in 0..24 {
        shapes.insert(format!("cond_stage_model.model.transformer.resblocks.{layer}.ln_1.weight"), vec![64]);
    }
    assert_eq!(layers(&shapes), 23, "diffusers never loads resblocks.23");
}

#[test]
fn predictions_are_marked_or_guessed() {
    let mut shapes = file("sdxl");
    assert_eq!(
        recognised("sdxl").prediction,
        Prediction { is_v: false, zero_terminal_snr: false, evidence: None }
    );
    shapes.extend(["v_pred", "ztsnr"].map(|key| (key.into(), vec![])));
    let marked = recognise(&shapes).expect("SDXL").configs.scheduler;
    assert_eq!(marked["prediction_type"], "v_prediction");
    assert_eq!(marked["rescale_betas_zero_snr"], true);
    assert_eq!(markers(Architecture::StableDiffusionXl, &marked), ["v_pred", "ztsnr"]);

    let mut two = recognised("sd2");
    let evidence = "model.diffusion_model.output_blocks.3.1.transformer_blocks.0.norm1.bias";
    assert_eq!(two.prediction.evidence.as_deref(), Some(evidence));
    assert_eq!(markers(two.architecture, &two.configs.scheduler), [""; 0]);
    two.settle_prediction(&[0.1, -0.1, 0.1, -0.1]);
    assert!(two.prediction.is_v);
    let mut two = recognised("sd2");
    two.settle_prediction(&[0.08, -0.08]);
    assert_eq!(two.configs.scheduler["prediction_type"], "epsilon");
    assert_eq!(
        (&two.configs.vae["sample_size"], &two.configs.unet["sample_size"]),
        (&json!(512), &json!(128))
    );
}

#[test]
fn what_a_single_file_cannot_say_is_named() {
    let one = recognised("sd1");
    let unet = &GOLDEN["parts"]["unet_sd1"]["config"];
    assert_eq!(what_is_lost(&one, ComponentKind::Unet, unet), [""; 0]);
    let mut other = unet.clone();
    other["attention_head_dim"] = json!([8, 8]);
    other["norm_eps"] = json!(1e-5);
    assert_eq!(what_is_lost(&one, ComponentKind::Unet, &other), [""; 0]);
    other["attention_head_dim"] = json!([4, 8]);
    let lost = what_is_lost(&one, ComponentKind::Unet, &other);
    assert_eq!(lost.len(), 1);
    assert!(lost[0].contains("`attention_head_dim` is [4,8]"), "{lost:?}");
    let vae = json!({"scaling_factor": 0.3, "shift_factor": null});
    assert_eq!(what_is_lost(&one, ComponentKind::Vae, &vae).len(), 1);
}
