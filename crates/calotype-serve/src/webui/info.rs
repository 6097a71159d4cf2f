//! What webui says of pictures that it has made: the text `info` of an answer.

use calotype::files::png_text;
use calotype::pipeline::Request;
use calotype::sampler::SamplerKind;
use serde_json::{Value, json};

use crate::app::App;
use crate::jobs::Job;

/// The texts that pictures record, `parameters`, in their order.
fn texts(pngs: &[Vec<u8>]) -> Vec<String> {
    let of = |png: &Vec<u8>| {
        let texts = png_text::read(png).unwrap_or_default();
        texts
            .into_iter()
            .find(|(keyword, _)| keyword == "parameters")
            .map(|(_, text)| text)
            .unwrap_or_default()
    };
    pngs.iter().map(of).collect()
}

/// `info` of a job's pictures; JSON, which webui has as a text.
pub(super) fn of(app: &App, job: &Job, first: &Request, pngs: &[Vec<u8>], warnings: &[String]) -> String {
    let rows: Vec<_> = job.pictures().iter().filter_map(|id| app.history.row(id).ok()).collect();
    let filled = rows.first().map_or(Value::Null, |row| row.request.clone());
    let of_all = |text: &str| vec![text.to_owned(); rows.len()];
    let negative = first.negative.clone().unwrap_or_default();
    let sampler = filled["sampler"].as_str().and_then(|name| name.parse::<SamplerKind>().ok());
    let seeds: Vec<u64> = rows.iter().map(|row| row.seed).collect();
    let zeros = vec![0; rows.len()];
    json!({
        "prompt": first.prompt, "all_prompts": of_all(&first.prompt),
        "negative_prompt": negative, "all_negative_prompts": of_all(&negative),
        "seed": first.seed, "all_seeds": seeds,
        "subseed": 0, "all_subseeds": zeros, "subseed_strength": 0,
        "width": rows.first().map(|row| row.width), "height": rows.first().map(|row| row.height),
        "sampler_name": sampler.map(SamplerKind::label), "cfg_scale": filled["guidance"],
        "steps": filled["steps"], "batch_size": rows.len(), "restore_faces": false, "face_restoration_model": null,
        "sd_model_name": job.asked.model, "sd_model_hash": null, "sd_vae_name": null, "sd_vae_hash": null,
        "seed_resize_from_w": -1, "seed_resize_from_h": -1, "denoising_strength": filled["strength"],
        "extra_generation_params": {}, "index_of_first_image": 0, "infotexts": texts(pngs), "styles": [],
        "job_timestamp": "", "clip_skip": first.clip_skip + 1, "is_using_inpainting_conditioning": false,
        "version": concat!("calotype ", env!("CARGO_PKG_VERSION")),
        "warnings": warnings,
    })
    .to_string()
}
