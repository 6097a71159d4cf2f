//! What a client of webui asks for, as a request of ours.

use calotype::pipeline::{GivenPictures, Request};
use calotype::sampler::SamplerKind;
use image::imageops;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::options::Chosen;
use crate::api::records::{sampler_of, schedule_of};
use crate::app::App;
use crate::given::{Bounds, decoded};
use crate::jobs::Asked;
use crate::problem::{Answer, Problem, shortened};

/// What `txt2img` and `img2img` are asked with. Fields that webui has and that mean nothing here are in `others`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct WebuiRequest {
    prompt: String,
    negative_prompt: Option<String>,
    seed: Option<i64>,
    steps: Option<usize>,
    cfg_scale: Option<f64>,
    width: Option<usize>,
    height: Option<usize>,
    sampler_name: Option<String>,
    sampler_index: Option<String>,
    scheduler: Option<String>,
    batch_size: Option<usize>,
    n_iter: Option<usize>,
    eta: Option<f64>,
    override_settings: Option<Map<String, Value>>,
    denoising_strength: Option<f64>,
    init_images: Option<Vec<String>>,
    mask: Option<String>,
    inpainting_mask_invert: Option<i64>,
    resize_mode: Option<i64>,
    /// Whether the pictures are in the answer.
    pub send_images: Option<bool>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// A job, and what its client should know.
pub struct Understood {
    /// The job.
    pub asked: Asked,
    /// What was passed over, and why.
    pub warnings: Vec<String>,
    /// The request of the first picture.
    pub first: Request,
}

/// A field of what there is not here, and whether a value asks for it.
type Refused = (&'static str, fn(&Value) -> bool);

const REFUSED: [Refused; 8] = [
    ("enable_hr", is_true),
    ("alwayson_scripts", is_something),
    ("script_name", is_something),
    ("styles", is_something),
    ("tiling", is_true),
    ("restore_faces", is_true),
    ("subseed_strength", is_not_zero),
    ("s_churn", is_not_zero),
];

fn is_true(value: &Value) -> bool {
    *value == Value::Bool(true)
}

fn is_not_zero(value: &Value) -> bool {
    value.as_f64().is_some_and(|number| number != 0.0)
}

fn is_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty() && text != "None",
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => true,
    }
}

impl WebuiRequest {
    /// What it means here. `to_image`: whether it begins with a picture.
    ///
    /// # Errors
    /// 404 for a model, 422 for what there is not or cannot be, by name.
    pub fn understood(self, app: &App, to_image: bool) -> Answer<Understood> {
        self.refuse()?;
        let chosen = match &self.override_settings {
            Some(options) => app.options.chosen().with(options, &app.models)?,
            None => app.options.chosen(),
        };
        let mut warnings = Vec::new();
        let given = if to_image { self.given(app, &mut warnings)? } else { GivenPictures::default() };
        let request = self.request(&chosen, to_image, &given)?;
        let seed = match self.seed {
            Some(seed) if seed >= 0 => seed as u64,
            Some(-1) | None => random_seed()?,
            Some(other) => return Err(Problem::setting("seed", "-1 for any, or 0 and more", other)),
        };
        // webui's picture i of a request has the seed of the first, and i more.
        let count = self.count()?;
        let of = |i: usize| (Request { seed: Some(seed.wrapping_add(i as u64)), ..request.clone() }, 1);
        let asked = Asked {
            model: chosen.model.unwrap_or_else(|| app.models.default.clone()),
            requests: (0..count).map(of).collect(),
            given,
            ..Asked::default()
        };
        Ok(Understood { first: Request { seed: Some(seed), ..request }, asked, warnings })
    }

    fn refuse(&self) -> Answer<()> {
        for (name, asks) in REFUSED {
            if let Some(value) = self.others.get(name).filter(|value| asks(value)) {
                let got = match value {
                    Value::Object(map) => map.keys().cloned().collect::<Vec<_>>().join(", "),
                    other => other.to_string(),
                };
                return Err(Problem::setting(name, "nothing: this server has none of it", shortened(&got)));
            }
        }
        match self.resize_mode {
            None | Some(0) => Ok(()),
            Some(mode) => Err(Problem::setting("resize_mode", "0: the picture is resized to the size", mode)),
        }
    }

    fn count(&self) -> Answer<usize> {
        let (size, times) = (self.batch_size.unwrap_or(1), self.n_iter.unwrap_or(1));
        match size.checked_mul(times) {
            Some(count @ 1..=1024) => Ok(count),
            _ => Err(Problem::setting(
                "batch_size",
                "1 or more, times n_iter",
                format!("{size} times {times}"),
            )),
        }
    }

    fn given(&self, app: &App, warnings: &mut Vec<String>) -> Answer<GivenPictures> {
        let bounds = Bounds { pixels: app.config.limits.given_pixels };
        let picture = match self.init_images.as_deref() {
            Some([picture]) => bounds.picture("init_images", &decoded("init_images", picture)?)?,
            other => {
                let got = other.map_or(0, <[String]>::len);
                return Err(Problem::setting("init_images", "one picture", got));
            }
        };
        let mask = match self.mask.as_deref().filter(|mask| !mask.is_empty()) {
            None => None,
            Some(text) => {
                let mut mask = bounds.mask("mask", &decoded("mask", text)?)?;
                if self.inpainting_mask_invert == Some(1) {
                    imageops::invert(&mut mask);
                }
                warnings.push(
                    "mask_blur, inpainting_fill and inpaint_full_res have no part here: what is white is painted, at \
                     the picture's own size, from what was there"
                        .into(),
                );
                Some(mask)
            }
        };
        Ok(GivenPictures { init: Some(picture), mask, reference: None })
    }

    fn request(&self, chosen: &Chosen, to_image: bool, given: &GivenPictures) -> Answer<Request> {
        let (sampler, levels) = self.sampler()?;
        let schedule = match &self.scheduler {
            None => levels,
            Some(label) => {
                let known = schedule_of(label).ok_or_else(|| {
                    let names = calotype::diffusion::SigmaSpacing::names();
                    Problem::setting("scheduler", format!("one of automatic, {names}"), shortened(label))
                });
                known?.or(levels)
            }
        };
        let strength = if to_image { Some(self.denoising_strength.unwrap_or(0.75)) } else { None };
        let own = given.init.as_ref().map(image::RgbImage::dimensions);
        Ok(Request {
            prompt: self.prompt.clone(),
            negative: self.negative_prompt.clone().filter(|text| !text.is_empty()),
            steps: self.steps,
            guidance: self.cfg_scale,
            width: self.width.or(own.map(|(width, _)| width as usize)),
            height: self.height.or(own.map(|(_, height)| height as usize)),
            // In webui η is of several samplers; the others here have their own.
            eta: if sampler == Some(SamplerKind::Ddim) { self.eta.unwrap_or(0.0) } else { 0.0 },
            clip_skip: chosen.clip_skip,
            sampler,
            schedule,
            strength,
            ..Request::default()
        })
    }

    fn sampler(&self) -> Answer<(Option<SamplerKind>, Option<calotype::diffusion::SigmaSpacing>)> {
        let label = self.sampler_name.as_ref().or(self.sampler_index.as_ref());
        let Some(label) = label.filter(|label| !label.is_empty()) else { return Ok((None, None)) };
        let known = sampler_of(label).ok_or_else(|| {
            let labels = SamplerKind::ALL.map(SamplerKind::label).join(", ");
            Problem::setting("sampler_name", format!("one of {labels}"), format!("`{}`", shortened(label)))
        });
        known.map(|(kind, levels)| (Some(kind), levels))
    }
}

/// Any seed of 32 bits, as webui draws them.
///
/// # Errors
/// 500 where the system has no random numbers.
pub fn random_seed() -> Answer<u64> {
    getrandom::u32().map(u64::from).map_err(Problem::internal)
}
