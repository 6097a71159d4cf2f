//! A published file of cloneofsimo's kind, for Stable Diffusion 1.5: `analog_svd_rank4.safetensors`.

use super::*;
use crate::model::ComponentKind;
use crate::testing::test_data;

const ATTENTION: [&str; 4] = ["to_q", "to_k", "to_v", "to_out.0"];

/// The weights of a `UNet2DConditionModel` that such a file may touch, by its `config.json`.
fn unet(config: &Value) -> Shapes {
    let channels: Vec<usize> = items(&config["block_out_channels"]).iter().map(number).collect();
    let context = number(&config["cross_attention_dim"]);
    let layers = number(&config["layers_per_block"]);
    let mut shapes = Shapes::new();
    for (side, kinds, layers) in [("down", "down_block_types", layers), ("up", "up_block_types", layers + 1)]
    {
        for (i, kind) in items(&config[kinds]).iter().enumerate() {
            let width = channels[if side == "down" { i } else { channels.len() - 1 - i }];
            for n in (0..layers).filter(|_| text(kind).starts_with("CrossAttn")) {
                transformer(&mut shapes, &format!("{side}_blocks.{i}.attentions.{n}"), width, context);
            }
        }
    }
    transformer(&mut shapes, "mid_block.attentions.0", channels[channels.len() - 1], context);
    shapes
}

fn transformer(shapes: &mut Shapes, place: &str, width: usize, context: usize) {
    let block = format!("{place}.transformer_blocks.0");
    for (attention, context) in [("attn1", width), ("attn2", context)] {
        for name in ATTENTION {
            let inputs = if matches!(name, "to_k" | "to_v") { context } else { width };
            shapes.insert(format!("{block}.{attention}.{name}.weight"), vec![width, inputs]);
        }
    }
    shapes.insert(format!("{block}.ff.net.0.proj.weight"), vec![8 * width, width]);
    shapes.insert(format!("{block}.ff.net.2.weight"), vec![width, 4 * width]);
    shapes.insert(format!("{place}.proj_in.weight"), vec![width, width, 1, 1]);
    shapes.insert(format!("{place}.proj_out.weight"), vec![width, width, 1, 1]);
}

fn text_encoder(config: &Value) -> Shapes {
    let (width, inner) = (number(&config["hidden_size"]), number(&config["intermediate_size"]));
    let layer = |n: usize| {
        let at = format!("text_model.encoder.layers.{n}");
        let projections = ["q_proj", "k_proj", "v_proj", "out_proj"];
        let mut shapes: Vec<(String, Vec<usize>)> =
            projections.map(|name| (format!("{at}.self_attn.{name}.weight"), vec![width, width])).to_vec();
        shapes.push((format!("{at}.mlp.fc1.weight"), vec![inner, width]));
        shapes.push((format!("{at}.mlp.fc2.weight"), vec![width, inner]));
        shapes
    };
    (0..number(&config["num_hidden_layers"])).flat_map(layer).collect()
}

/// Shapes and metadata in the header of a safetensors file.
fn header(path: &Path) -> (Shapes, BTreeMap<String, String>) {
    let bytes = std::fs::read(path).unwrap();
    let length = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let mut header: BTreeMap<String, Value> = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let metadata = serde_json::from_value(header.remove("__metadata__").unwrap()).unwrap();
    let shape = |value: &Value| items(&value["shape"]).iter().map(number).collect();
    (header.iter().map(|(name, value)| (name.clone(), shape(value))).collect(), metadata)
}

#[test]
#[ignore = "needs CALOTYPE_TEST_DATA"]
fn every_tensor_of_a_published_file_fits() {
    let data = test_data(); // weights/lora and model-configs
    let config = |component: &str| -> Value {
        let path = data.join("model-configs/stable-diffusion-v1-5").join(component).join("config.json");
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    };
    let model: Model = [
        (ComponentKind::Unet, unet(&config("unet"))),
        (ComponentKind::TextEncoder, text_encoder(&config("text_encoder"))),
    ]
    .into();
    let (tensors, metadata) = header(&data.join("weights/lora/analog_svd_rank4.safetensors"));
    let got = read(&tensors, &metadata, &model).unwrap();
    assert!(got.unmatched.is_empty(), "{:?}", got.unmatched);
    assert_eq!(got.entries.len(), 144 + 48);
    assert!(got.entries.iter().all(|entry| entry.rank == Some(4) && entry.alpha.is_none()));

    let target: BTreeMap<&str, &str> =
        got.entries.iter().map(|entry| (down_and_up(entry).0, entry.target.names[0].as_str())).collect();
    // The module tree of diffusers 0.11.1, walked through by hand and by Python.
    let block = "down_blocks.0.attentions.0.transformer_blocks.0";
    let names = ["attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0", "ff.net.0.proj"]
        .into_iter()
        .chain(["attn2.to_q", "attn2.to_k", "attn2.to_v", "attn2.to_out.0"]);
    for (n, name) in names.enumerate() {
        assert_eq!(target[format!("unet:{n}:down").as_str()], format!("{block}.{name}.weight"));
    }
    // Upwards before the middle.
    assert_eq!(target["unet:54:down"], "up_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.weight");
    assert_eq!(target["unet:143:down"], "mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0.weight");
    for (n, name) in ["k_proj", "v_proj", "q_proj", "out_proj"].into_iter().enumerate() {
        let expected = format!("text_model.encoder.layers.11.self_attn.{name}.weight");
        assert_eq!(target[format!("text_encoder:{}:down", 44 + n).as_str()], expected);
    }
}
