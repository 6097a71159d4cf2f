//! The golden file is made by `tools/oracle/lora_names.py`: diffusers 0.42.1 and PEFT 0.21.2 say which layer
//! each tensor went to.

mod analog;
mod flux;
mod lycoris;
mod refusals;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::change::Change;
use super::entry::{Alpha, Entry};
use super::names::kohya_name;
use super::{Assignment, LoraFile, ModelShapes as Model, Shapes, assign};
use crate::error::{Error, Result};
use crate::model::ComponentKind;

const GOLDEN: &str = include_str!("../../../tests/golden/lora_names.json");

fn component(name: &str) -> ComponentKind {
    match name {
        "unet" => ComponentKind::Unet,
        "text_encoder" => ComponentKind::TextEncoder,
        "text_encoder_2" => ComponentKind::TextEncoder2,
        _ => panic!("no component {name}"),
    }
}

fn items(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn number(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

/// The names of one component in the golden file's order, with shapes.
fn weights(model: &Value, component: &str) -> Vec<(String, Vec<usize>)> {
    let of = |pair: &Value| (text(&pair[0]).to_owned(), items(&pair[1]).iter().map(number).collect());
    items(&model["parts"][component]).iter().map(of).collect()
}

fn golden_model(model: &Value) -> Model {
    let components = model["parts"].as_object().unwrap();
    components.keys().map(|name| (component(name), weights(model, name).into_iter().collect())).collect()
}

fn golden() -> Vec<Value> {
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    items(&golden["models"]).clone()
}

fn read(tensors: &Shapes, metadata: &BTreeMap<String, String>, model: &Model) -> Result<Assignment> {
    assign(LoraFile { path: Path::new("style.safetensors"), tensors, metadata }, model)
}

/// Names of `down` and `up`, rank, alpha.
type Tensors = (String, String, usize, Option<Alpha>);

/// Names of the tensors of plain LoRA.
fn down_and_up(entry: &Entry) -> (&str, &str) {
    match &entry.change {
        Change::LowRank { down, up, mid: None } => (down, up),
        other => panic!("{other:?}"),
    }
}

/// One file of the golden data: its tensors, its metadata, and what `assign` must say, by (component, target).
struct Case {
    tensors: Shapes,
    metadata: BTreeMap<String, String>,
    expected: BTreeMap<(ComponentKind, String), Tensors>,
}

fn case(model: &Value, file: &Value) -> Case {
    let metadata: BTreeMap<String, String> = serde_json::from_value(file["metadata"].clone()).unwrap();
    let mut case = Case { tensors: Shapes::new(), metadata, expected: BTreeMap::new() };
    for group in items(&file["groups"]) {
        let weights = weights(model, text(&group["part"]));
        for row in items(&group["layers"]) {
            let (stem, rank) = (text(&row[0]), number(&row[2]));
            let (target, shape) = &weights[number(&row[1])];
            let down = format!("{stem}{}", text(&group["down"]));
            let up = format!("{stem}{}", text(&group["up"]));
            case.tensors.insert(down.clone(), [&[rank], &shape[1..]].concat());
            case.tensors.insert(up.clone(), [&[shape[0], rank], &vec![1; shape.len() - 2][..]].concat());
            let mut alpha = row.get(3).and_then(Value::as_f64).map(Alpha::Value);
            if let Some(ending) = group["alpha"].as_str() {
                case.tensors.insert(format!("{stem}{ending}"), Vec::new());
                alpha = Some(Alpha::Tensor(format!("{stem}{ending}")));
            }
            case.expected.insert((component(text(&group["part"])), target.clone()), (down, up, rank, alpha));
        }
    }
    case
}

fn golden_case(model: &str, file: &str) -> (Model, Case) {
    let models = golden();
    let model = models.iter().find(|m| m["name"] == model).unwrap();
    let file = items(&model["files"]).iter().find(|f| f["name"] == file).unwrap();
    (golden_model(model), case(model, file))
}

#[test]
fn every_way_of_naming_is_read_as_diffusers_reads_it() {
    let mut layers = 0;
    for model in golden() {
        let shapes = golden_model(&model);
        for file in items(&model["files"]) {
            let case = case(&model, file);
            let name = format!("{} {}", model["name"], file["name"]);
            let got = read(&case.tensors, &case.metadata, &shapes).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(got.unmatched.is_empty(), "{name}: {:?}", got.unmatched);
            assert_eq!(got.entries.len(), case.expected.len(), "{name}");
            for entry in got.entries {
                let (down, up) = down_and_up(&entry);
                let found = (down.to_owned(), up.to_owned(), entry.rank.unwrap(), entry.alpha.clone());
                let expected = case.expected.get(&(entry.component, entry.target.to_string()));
                assert_eq!(Some(&found), expected, "{name}: {}", entry.target);
                assert_eq!((&entry.scalar, &entry.magnitude), (&None, &None));
                layers += 1;
            }
        }
    }
    assert!(layers > 1000, "{layers}");
}

#[test]
fn written_names_are_kohyas() {
    for (model, file) in [("sd1", "kohya"), ("sdxl", "kohya")] {
        let (_, case) = golden_case(model, file);
        for ((component, target), (down, ..)) in case.expected {
            let name = kohya_name(component, &target);
            // A model with two text encoders calls the first `te1`.
            let name = if model == "sdxl" { name.replacen("lora_te_", "lora_te1_", 1) } else { name };
            assert_eq!(name + ".lora_down.weight", down);
        }
    }
    assert_eq!(
        kohya_name(ComponentKind::TextEncoder, "encoder.layers.0.mlp.fc1.weight"),
        "lora_te_text_model_encoder_layers_0_mlp_fc1"
    );
    assert_eq!(kohya_name(ComponentKind::TextEncoder2, "text_projection.weight"), "lora_te2_text_projection");
}

#[test]
fn stabilitys_upsampling_without_attention_is_second() {
    // No loader says this: Stable Diffusion 1's first output block, `output_blocks.2`, has no attention.
    let unet: Shapes = [
        ("up_blocks.0.resnets.2.conv1.weight", [8, 8, 3, 3]),
        ("up_blocks.0.upsamplers.0.conv.weight", [8, 8, 3, 3]),
    ]
    .into_iter()
    .map(|(name, shape)| (name.to_owned(), shape.to_vec()))
    .collect();
    let names = super::stability::StabilityNames::new(&unet);
    assert_eq!(names.of("up_blocks.0.upsamplers.0.conv").as_deref(), Some("output_blocks.2.1.conv"));
    assert_eq!(names.of("up_blocks.0.resnets.2.conv1").as_deref(), Some("output_blocks.2.0.in_layers.2"));
    assert_eq!(names.of("up_blocks.7.resnets.0.conv1"), None);
}

#[test]
fn a_tucker_convolution_has_three_tensors() {
    let (model, _) = golden_case("sd1", "kohya");
    let stem = "lora_unet_mid_block_resnets_0_conv1";
    let mut tensors: Shapes =
        [("down", vec![2, 16, 1, 1]), ("up", vec![16, 2, 1, 1]), ("mid", vec![2, 2, 3, 3])]
            .into_iter()
            .map(|(role, shape)| (format!("{stem}.lora_{role}.weight"), shape))
            .collect();
    let got = read(&tensors, &BTreeMap::new(), &model).unwrap();
    let Change::LowRank { mid: Some(mid), .. } = &got.entries[0].change else { panic!("{got:?}") };
    assert_eq!(mid, &format!("{stem}.lora_mid.weight"));
    assert_eq!(got.entries[0].target.to_string(), "mid_block.resnets.0.conv1.weight");
    tensors.insert(format!("{stem}.lora_mid.weight"), vec![2, 2, 1, 1]);
    let error = read(&tensors, &BTreeMap::new(), &model).unwrap_err().to_string();
    assert!(error.contains("lora_mid.weight") && error.contains("[2, 2, 3, 3]"), "{error}");
}

#[test]
fn a_linear_layer_takes_the_tensors_of_a_1x1_convolution() {
    let (model, _) = golden_case("sdxl", "kohya");
    let stem = "lora_unet_mid_block_attentions_0_proj_in";
    let tensors: Shapes = [("down", vec![2, 24, 1, 1]), ("up", vec![24, 2, 1, 1])]
        .into_iter()
        .map(|(role, shape)| (format!("{stem}.lora_{role}.weight"), shape))
        .collect();
    assert_eq!(read(&tensors, &BTreeMap::new(), &model).unwrap().entries[0].rank, Some(2));
}

#[test]
fn names_of_nothing_are_handed_back() {
    let (model, mut case) = golden_case("sd1", "kohya");
    let extra = [
        "<token>",
        "lora_unet_nowhere.alpha",
        "lora_unet_nowhere.lora_down.weight",
        "lora_unet_nowhere.lora_up.weight",
    ];
    case.tensors.extend(extra.map(|name| (name.to_owned(), vec![2, 2])));
    let got = read(&case.tensors, &case.metadata, &model).unwrap();
    assert_eq!(got.unmatched, extra);
    assert_eq!(got.entries.len(), case.expected.len());
    // A model without its text encoder: the tensors of the text encoder are left over.
    let unet_only: Model =
        model.into_iter().filter(|(component, _)| *component == ComponentKind::Unet).collect();
    let got = read(&case.tensors, &case.metadata, &unet_only).unwrap();
    assert!(got.entries.iter().all(|entry| entry.component == ComponentKind::Unet));
    assert_eq!(got.unmatched.iter().filter(|name| name.starts_with("lora_te_")).count(), 3 * 12);
}

#[test]
fn peft_scales_by_the_root_of_the_rank_if_asked() {
    let (model, mut case) = golden_case("sd1", "peft");
    let config =
        r#"{"peft_type": "LORA", "lora_alpha": 8, "use_rslora": true, "alpha_pattern": {"attn1.to_q": 3}}"#;
    case.metadata.insert(super::ADAPTER_CONFIG.into(), config.into());
    for entry in read(&case.tensors, &case.metadata, &model).unwrap().entries {
        let alpha = if entry.target.to_string().ends_with("attn1.to_q.weight") { 3.0 } else { 8.0 };
        assert_eq!(entry.alpha, Some(Alpha::Value(alpha * (entry.rank.unwrap() as f64).sqrt())));
    }
}
