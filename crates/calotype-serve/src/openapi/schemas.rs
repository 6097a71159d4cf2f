//! The shapes of bodies.

use calotype::diffusion::SigmaSpacing;
use calotype::runs::folder::TrainedPart;
use calotype::sampler::SamplerKind;
use serde_json::{Map, Value, json};

use crate::config::Limits;

fn text() -> Value {
    json!({ "type": "string" })
}

/// May be `null`.
fn or_null(mut schema: Value) -> Value {
    schema["type"] = json!([schema["type"], "null"]);
    if let Some(list) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        list.push(Value::Null);
    }
    schema
}

pub(super) fn object() -> Value {
    json!({ "type": "object" })
}

fn closed(properties: Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

pub(super) fn session() -> Value {
    closed(json!({ "token": text() }), &["token"])
}

pub(super) fn words() -> Value {
    closed(json!({ "model": or_null(text()), "prompt": text() }), &["prompt"])
}

pub(super) fn choice() -> Value {
    let chosen = json!({ "type": "string", "enum": ["left", "right", "neither"] });
    closed(json!({ "left": text(), "right": text(), "chosen": chosen }), &["left", "right", "chosen"])
}

pub(super) fn recipe() -> Value {
    closed(json!({ "recipe": text() }), &["recipe"])
}

pub(super) fn data() -> Value {
    closed(json!({ "data": text() }), &["data"])
}

pub(super) fn evaluation() -> Value {
    let prompts = whole_number(2, Some(500));
    closed(json!({ "model": or_null(text()), "prompts": prompts, "seed": whole_number(0, None) }), &[])
}

pub(super) fn training() -> Value {
    let part = json!({ "type": "string", "enum": TrainedPart::ALL.map(TrainedPart::name) });
    let properties = json!({
        "run": { "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$" }, "recipe": text(),
        "parts": { "type": "array", "items": part, "minItems": 1 }, "data": or_null(text()),
        "resume": { "type": "boolean" },
    });
    closed(properties, &["run", "recipe", "parts"])
}

pub(super) fn png_info() -> Value {
    json!({ "type": "object", "properties": { "image": text() }, "required": ["image"] })
}

fn whole_number(least: u64, most: Option<usize>) -> Value {
    match most {
        Some(most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        None => json!({ "type": "integer", "minimum": least }),
    }
}

/// The settings of a request, those that a client may choose.
fn settings() -> Value {
    let limits = Limits::default();
    let seed = whole_number(0, None);
    let side = whole_number(1, Some(limits.most_side));
    let properties = json!({
        "prompt": text(), "negative": text(), "seed": seed, "first": seed,
        "steps": whole_number(1, Some(limits.most_steps)), "width": side, "height": side,
        "sampler": { "type": "string", "enum": SamplerKind::ALL.map(SamplerKind::name) },
        "schedule": { "type": "string", "enum": SigmaSpacing::ALL.map(SigmaSpacing::name) },
        "guidance": { "type": "number" }, "true_cfg": { "type": "number" },
        "guidance_rescale": { "type": "number", "minimum": 0, "maximum": 1 },
        "guidance_interval": { "type": "string", "description": "LOW,HIGH" },
        "strength": { "type": "number", "exclusiveMinimum": 0, "maximum": 1 },
        "eta": { "type": "number" }, "clip_skip": whole_number(0, None), "rng": text(), "compat": text(),
        "long_prompt": { "type": "boolean" }, "plain_prompt": { "type": "boolean" },
        "vae_tiling": { "type": "boolean" },
    });
    let properties = properties.as_object().into_iter().flatten();
    let properties: Map<String, Value> =
        properties.map(|(name, schema)| (name.clone(), or_null(schema.clone()))).collect();
    closed(Value::Object(properties), &[])
}

pub(super) fn job() -> Value {
    let picture = or_null(json!({ "type": "string", "description": "a picture in base64, or a data URL" }));
    let properties = json!({
        "kind": { "type": "string", "enum": ["generate", "explain"] }, "model": or_null(text()),
        "request": settings(), "count": whole_number(1, Some(Limits::default().most_count)),
        "word_maps": { "type": "boolean" }, "previews": { "type": "boolean" },
        "init_image": picture, "mask": picture, "reference": picture, "explain_image": picture,
        "parent": or_null(text()),
    });
    closed(properties, &[])
}

pub(super) fn webui() -> Value {
    let number = or_null(json!({ "type": "number" }));
    let count = or_null(whole_number(1, None));
    json!({ "type": "object", "properties": {
        "prompt": text(), "negative_prompt": or_null(text()), "seed": or_null(json!({ "type": "integer" })),
        "steps": count, "cfg_scale": number, "width": count, "height": count,
        "sampler_name": or_null(text()), "scheduler": or_null(text()),
        "batch_size": count, "n_iter": count, "denoising_strength": number,
        "init_images": { "type": ["array", "null"], "items": text() }, "mask": or_null(text()),
        "override_settings": or_null(object()), "alwayson_scripts": or_null(object()),
    } })
}

fn images() -> Map<String, Value> {
    let properties = json!({
        "prompt": text(), "model": or_null(text()), "n": or_null(whole_number(1, Some(10))),
        "size": or_null(text()), "response_format": or_null(json!({ "type": "string", "enum": ["b64_json", "url"] })),
        "output_format": or_null(json!({ "type": "string", "enum": ["png", "jpeg", "webp"] })),
        "output_compression": or_null(whole_number(1, Some(100))), "user": or_null(text()),
        "quality": or_null(text()), "background": or_null(text()), "stream": or_null(json!({ "type": "boolean" })),
        "seed": or_null(whole_number(0, None)), "steps": or_null(whole_number(1, None)),
        "guidance": or_null(json!({ "type": "number" })), "negative_prompt": or_null(text()),
        "sampler": or_null(text()),
    });
    properties.as_object().cloned().unwrap_or_default()
}

pub(super) fn image() -> Value {
    let mut properties = images();
    properties.insert("style".into(), or_null(text()));
    properties.insert("moderation".into(), or_null(text()));
    closed(Value::Object(properties), &["prompt"])
}

pub(super) fn edit() -> Value {
    let mut properties = images();
    let picture = json!({ "type": "string", "format": "binary" });
    properties.insert("image".into(), picture.clone());
    properties.insert("mask".into(), picture);
    properties.insert("strength".into(), json!({ "type": "number" }));
    closed(Value::Object(properties), &["image", "prompt"])
}
