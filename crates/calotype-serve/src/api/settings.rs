//! Settings of a request as clients write them: the library's, but for those that name files.

use calotype::pipeline::Request;
use serde_json::{Map, Value};

use crate::problem::{Answer, Problem, shortened};

/// The settings that a client may choose, in kebab-case as the library has them. The others name files or folders, or
/// decide how a model is read: they are the server's.
pub const ALLOWED: [&str; 20] = [
    "prompt",
    "negative",
    "clip-skip",
    "long-prompt",
    "plain-prompt",
    "vae-tiling",
    "first",
    "seed",
    "rng",
    "steps",
    "sampler",
    "eta",
    "schedule",
    "compat",
    "guidance",
    "true-cfg",
    "guidance-rescale",
    "guidance-interval",
    "width",
    "height",
];

/// May be chosen where there is a picture to begin with.
pub const STRENGTH: &str = "strength";

/// A request of settings in snake_case or kebab-case; `null` is as good as nothing.
///
/// # Errors
/// 422 that names the setting.
pub fn request(settings: &Map<String, Value>) -> Answer<Request> {
    let mut named = Map::new();
    for (name, value) in settings.iter().filter(|(_, value)| !value.is_null()) {
        let own = name.replace('_', "-");
        if own != STRENGTH && !ALLOWED.contains(&own.as_str()) {
            let expected = format!("one of {}, {STRENGTH}", ALLOWED.join(", ").replace('-', "_"));
            let problem = Problem::setting(name, "a setting that a client may choose", "another");
            return Err(problem.hint(format!("request has {expected}")));
        }
        named.insert(own, value.clone());
    }
    // One at a time, so that the error names its setting.
    for (name, value) in &named {
        let alone = Value::Object(Map::from_iter([(name.clone(), value.clone())]));
        if let Err(error) = serde_json::from_value::<Request>(alone) {
            let setting = name.replace('-', "_");
            let message = format!("{setting}: {error}, got {}", shortened(&value.to_string()));
            let status = axum::http::StatusCode::UNPROCESSABLE_ENTITY;
            return Err(Problem { setting: Some(setting), ..Problem::new(status, message) });
        }
    }
    serde_json::from_value(Value::Object(named))
        .map_err(|error| Problem::setting("request", "settings", error))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(value: Value) -> Answer<Request> {
        request(value.as_object().unwrap())
    }

    #[test]
    fn settings_become_a_request() {
        let asked =
            of(json!({"prompt": "a cat", "guidance_rescale": 0.5, "seed": u64::MAX, "negative": null}))
                .unwrap();
        assert_eq!(
            (asked.prompt.as_str(), asked.guidance_rescale, asked.seed),
            ("a cat", 0.5, Some(u64::MAX))
        );
        assert_eq!(asked.negative, None);
    }

    #[test]
    fn files_and_nonsense_are_refused_by_name() {
        for (value, setting) in [
            (json!({"model": "/etc/passwd"}), "model"),
            (json!({"init_image": "x.png"}), "init_image"),
            (json!({"lora": ["x:1"]}), "lora"),
            (json!({"init-latents": "x"}), "init-latents"),
            (json!({"dtype": "bf16"}), "dtype"),
            (json!({"steps": "many"}), "steps"),
            (json!({"width": -1}), "width"),
            (json!({"sampler": "magic"}), "sampler"),
            (json!({"seed": 1.5}), "seed"),
            (json!({"guidance_interval": "5,1"}), "guidance_interval"),
        ] {
            let problem = of(value).unwrap_err();
            assert_eq!(problem.setting.as_deref(), Some(setting), "{}", problem.message);
        }
    }

    #[test]
    fn every_other_setting_is_the_servers() {
        let files = [
            "model",
            "tokenizer",
            "tokenizer-2",
            "transformer",
            "vae",
            "text-encoder",
            "text-encoder-2",
            "lora",
            "lora-dir",
            "embedding",
            "offload",
            "dtype",
            "init-latents",
            "init-image",
            "mask",
            "reference",
        ];
        for name in Request::names() {
            let name = if name == "recorded-prompt" { "prompt" } else { &name };
            let allowed = name == STRENGTH || ALLOWED.contains(&name);
            assert!(allowed != files.contains(&name), "is `{name}` for clients to choose?");
        }
    }
}
