//! `POST /api/records`: the settings that a picture records, ours or stable-diffusion-webui's.

use axum::body::Body;
use axum::extract::{Request as HttpRequest, State};
use axum::http::Response;
use calotype::diffusion::SigmaSpacing;
use calotype::files::png_text;
use calotype::pipeline::generation_parameters::{self, GenerationParameters};
use calotype::pipeline::{Request, record};
use calotype::sampler::{Generator, SamplerKind};
use serde_json::json;

use super::settings::ALLOWED;
use crate::answer;
use crate::app::Shared;
use crate::jobs::settings;
use crate::models::Models;
use crate::problem::{Answer, Problem};

/// What a picture records.
pub struct Recorded {
    /// Its settings that a client may choose.
    pub request: Request,
    /// By name, if it names one.
    pub model: Option<String>,
    /// What of the record is not in the request, and why.
    pub warnings: Vec<String>,
}

/// `POST /api/records`.
pub async fn read(State(app): State<Shared>, request: HttpRequest) -> Answer<Response<Body>> {
    let png = answer::body(request, app.config.limits.body_bytes).await?;
    let Recorded { request, model, mut warnings } = of_png(&png)?;
    let known = model.as_deref().filter(|name| app.models.named(Some(name)).is_ok());
    if let (Some(name), None) = (&model, known) {
        warnings.push(format!("this server has no model `{name}`"));
    }
    Ok(answer::json(&json!({
        "request": settings(&request), "model": known, "prompt": request.prompt, "count": 1,
        "warnings": warnings,
    })))
}

/// The settings of a PNG: of ours every one, of webui's those that there are here.
///
/// # Errors
/// 422 for what is no PNG, or records nothing.
pub fn of_png(png: &[u8]) -> Answer<Recorded> {
    let texts = png_text::read(png).map_err(|reason| Problem::setting("picture", "a whole PNG", reason))?;
    let has = |keyword: &str| texts.iter().find(|(known, _)| known == keyword).map(|(_, text)| text.as_str());
    if has("calotype").is_some() {
        return Ok(ours(record::of_png(png, std::path::Path::new("picture"))?));
    }
    match has("parameters") {
        Some(text) => of_parameters(&generation_parameters::parse(text)),
        None => {
            Err(Problem::setting("picture", "one that records how it was made", "a PNG without such a text"))
        }
    }
}

/// Without what names files of another machine.
fn ours(request: Request) -> Recorded {
    let model = request.model.as_deref().and_then(|path| path.file_name());
    let model = model.map(|name| name.to_string_lossy().into_owned());
    let mut warnings = Vec::new();
    let mut kept = request.settings();
    kept.retain(|name, _| {
        let short = if name == "recorded-prompt" { "prompt" } else { name };
        let allowed = ALLOWED.contains(&short);
        if !allowed && !["model", "dtype"].contains(&short) {
            warnings.push(format!(
                "`{}` is left out: it needs a file beside the picture",
                short.replace('-', "_")
            ));
        }
        allowed
    });
    // All of these are the library's own values.
    let request = serde_json::from_value(serde_json::Value::Object(kept)).unwrap_or_default();
    Recorded { request, model, warnings }
}

/// Of webui's text.
///
/// # Errors
/// 422 for numbers that are none.
pub fn of_parameters(parameters: &GenerationParameters) -> Answer<Recorded> {
    let mut warnings = Vec::new();
    let (mut sampler, mut schedule) = (None, None);
    if let Some(label) = parameters.get("Sampler") {
        match sampler_of(label) {
            Some((kind, spacing)) => (sampler, schedule) = (Some(kind), spacing),
            None => warnings.push(format!("there is no sampler `{label}` here")),
        }
    }
    if let Some(label) = parameters.get("Schedule type") {
        match schedule_of(label) {
            Some(spacing) => schedule = spacing.or(schedule),
            None => warnings.push(format!("there is no schedule `{label}` here")),
        }
    }
    if parameters.get("Denoising strength").is_some() {
        warnings.push("it was made from another picture, which it does not hold".into());
    }
    let (width, height) = match parameters.get("Size").and_then(|size| size.split_once('x')) {
        Some((width, height)) => (number("Size", Some(width))?, number("Size", Some(height))?),
        None => (None, None),
    };
    let rng = match parameters.get("RNG") {
        Some("CPU") => Some(Generator::TorchCpu),
        Some("NV") => Some(Generator::TorchCuda),
        _ => None,
    };
    let clip_skip: Option<usize> = number("Clip skip", parameters.get("Clip skip"))?;
    let negative = &parameters.negative_prompt;
    let request = Request {
        prompt: parameters.prompt.clone(),
        negative: (!negative.is_empty()).then(|| negative.clone()),
        steps: number("Steps", parameters.get("Steps"))?,
        guidance: number("CFG scale", parameters.get("CFG scale"))?,
        seed: number("Seed", parameters.get("Seed"))?,
        first: number("Picture", parameters.get("Picture"))?.unwrap_or(0),
        // webui counts the last layer as 1.
        clip_skip: clip_skip.map_or(0, |skip| skip.saturating_sub(1)),
        sampler,
        schedule,
        width,
        height,
        rng,
        ..Request::default()
    };
    Ok(Recorded { request, model: parameters.get("Model").map(str::to_owned), warnings })
}

fn number<T: std::str::FromStr>(name: &str, text: Option<&str>) -> Answer<Option<T>> {
    let Some(text) = text else { return Ok(None) };
    let number = text.trim().parse().map_err(|_| {
        Problem::setting(name, "a number within its range", format!("`{}`", crate::problem::shortened(text)))
    });
    number.map(Some)
}

/// The sampler of a label of webui's, or of our name, and the noise levels that old labels end with.
pub fn sampler_of(label: &str) -> Option<(SamplerKind, Option<SigmaSpacing>)> {
    let named = |label: &str| {
        let is = |kind: &SamplerKind| kind.label().eq_ignore_ascii_case(label) || kind.name() == label;
        SamplerKind::ALL.into_iter().find(is)
    };
    if let Some(kind) = named(label) {
        return Some((kind, None));
    }
    let (label, spacing) = label.rsplit_once(' ')?;
    Some((named(label)?, schedule_of(spacing).filter(Option::is_some)?))
}

/// The noise levels of a label of webui's; `Automatic` leaves them to the model.
pub fn schedule_of(label: &str) -> Option<Option<SigmaSpacing>> {
    if label.eq_ignore_ascii_case("automatic") || label.is_empty() {
        return Some(None);
    }
    let spacing = SigmaSpacing::ALL.into_iter().find(|spacing| spacing.name().eq_ignore_ascii_case(label));
    spacing.map(Some)
}

/// The model that a client names: as listed, or with the hash that webui's titles end with.
///
/// # Errors
/// 404, with the names.
pub fn model_of(models: &Models, title: &str) -> Answer<String> {
    let bare = title.split(" [").next().unwrap_or(title).trim();
    models.named(Some(bare))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn webuis_text_becomes_a_request() {
        let text = "a cat\nNegative prompt: blurry\nSteps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 5, \
                    Size: 512x640, Clip skip: 2, Model: v1-5";
        let read = of_parameters(&generation_parameters::parse(text)).unwrap();
        let Request { sampler, schedule, width, height, clip_skip, negative, .. } = read.request;
        assert_eq!((sampler, schedule), (Some(SamplerKind::DpmPp2M), Some(SigmaSpacing::Karras)));
        assert_eq!(
            (width, height, clip_skip, negative.as_deref()),
            (Some(512), Some(640), 1, Some("blurry"))
        );
        assert_eq!((read.model.as_deref(), read.warnings.len()), (Some("v1-5"), 0));
        let odd = of_parameters(&generation_parameters::parse("a\nSteps: 2, Sampler: Magic, CFG scale: 7"))
            .unwrap();
        assert_eq!(odd.warnings, ["there is no sampler `Magic` here"]);
        assert!(
            of_parameters(&generation_parameters::parse("a\nSteps: x, Sampler: Euler, Seed: 7")).is_err()
        );
    }

    #[test]
    fn labels_of_any_age_are_known() {
        assert_eq!(sampler_of("Euler a"), Some((SamplerKind::EulerAncestral, None)));
        assert_eq!(sampler_of("euler-a"), Some((SamplerKind::EulerAncestral, None)));
        assert_eq!(sampler_of("Euler Automatic"), None);
        assert_eq!(sampler_of("Magic Karras"), None);
        assert_eq!(schedule_of("Automatic"), Some(None));
        assert_eq!(schedule_of("Polyexponential"), None);
    }
}
