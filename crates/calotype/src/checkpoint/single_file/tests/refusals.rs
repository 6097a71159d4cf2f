//! What is no whole model of a known family.

use super::{CONV_IN, file};
use crate::checkpoint::single_file::{recognise, unexpected};

#[test]
fn other_models_are_refused_by_name() {
    let reason = |keys: &[&str]| {
        let shapes = keys.iter().map(|key| ((*key).to_owned(), vec![1])).collect();
        recognise(&shapes).expect_err("another model")
    };
    assert!(
        reason(&["model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight"]).contains("Diffusion 3")
    );
    assert!(reason(&["double_blocks.0.img_attn.norm.key_norm.scale"]).contains("relative of Flux.1"));
    assert!(reason(&["lora_te1_text_model_encoder.lora_up.weight"]).contains("LoRA"));
    assert!(reason(&["unet.conv_in.weight"]).contains("folder"));
    assert!(reason(&[]).contains("U-Net"));

    let without = |case: &str, prefix: &str| {
        let shapes = file(case).into_iter().filter(|(key, _)| !key.starts_with(prefix)).collect();
        recognise(&shapes).expect_err("a component is missing")
    };
    assert!(without("sd1", "first_stage_model.").contains("no vae"));
    assert!(without("sd1", "cond_stage_model.").contains("no text encoder"));
    assert!(without("sdxl", "model.diffusion_model.label_emb.").contains("label_emb"));
    // The refiner has the second tower only, as the first.
    let refiner = file("sdxl").into_iter().filter(|(key, _)| !key.starts_with("conditioner.embedders.0."));
    let refiner = refiner.map(|(key, shape)| (key.replace("embedders.1.", "embedders.0."), shape)).collect();
    assert!(recognise(&refiner).expect_err("the refiner").contains("refiner"));

    for (channels, what) in [(8, "InstructPix2Pix"), (5, "depth"), (7, "upscaler")] {
        let mut shapes = file("sd1");
        shapes.insert(CONV_IN.into(), vec![32, channels, 3, 3]);
        assert!(recognise(&shapes).expect_err("another model").contains(what));
    }
}

#[test]
fn damaged_files_are_refused_or_read_but_never_panic() {
    for case in ["sd1", "sd2", "sdxl"] {
        let mut shapes = file(case);
        let whole = shapes.clone();
        for (key, own) in &whole {
            shapes.remove(key);
            if let Ok(recognised) = recognise(&shapes) {
                unexpected(&shapes, &recognised);
            }
            for shape in [vec![], vec![0], vec![usize::MAX; 4]] {
                shapes.insert(key.clone(), shape);
                // Whether it is refused depends on whether a config needs this tensor's shape.
                recognise(&shapes).ok();
            }
            shapes.insert(key.clone(), own.clone());
        }
        let reason = |key: &str, shape: &[usize]| {
            let mut shapes = whole.clone();
            shapes.insert(key.into(), shape.to_vec());
            recognise(&shapes).expect_err("a block unlike the others")
        };
        let last = "model.diffusion_model.output_blocks.0.0.out_layers.3.weight";
        assert!(reason(last, &[96, 64, 3, 3]).contains("output_blocks.0"), "{case}");
        let latent = "first_stage_model.encoder.conv_out.weight";
        assert!(reason(latent, &[7, 64, 3, 3]).contains("encoder.conv_out"), "{case}");
    }
}
