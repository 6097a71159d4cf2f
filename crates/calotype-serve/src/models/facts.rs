//! What is known of a model: its family, what it is asked for where nobody says, and what it knows.

use calotype::data::emoji_scenes::{Colour, Noun, Relation};
use calotype::denoiser::DenoiserConfig;
use calotype::model::Model;
use calotype::sampler::SamplerKind;
use serde::Serialize;

/// Tokens of OpenAI's CLIP, which Stable Diffusion has.
const OPENAI_VOCABULARY: usize = 49_408;

/// What is known of a model.
#[derive(Debug, Clone, Serialize)]
pub struct Facts {
    /// By which it is asked for.
    pub name: String,
    /// `Stable Diffusion 1`, `Flux`, `Calotype`, …
    pub family: String,
    /// Whether it is in memory.
    pub loaded: bool,
    /// Of its files.
    pub bytes: u64,
    /// Of its pictures where nobody says, in pixels.
    pub width: usize,
    /// Likewise.
    pub height: usize,
    /// What width and height are multiples of.
    pub side_multiple: usize,
    /// Longest side that this server makes, in pixels.
    pub most_side: usize,
    /// What is sampled where nobody says.
    #[serde(flatten)]
    pub usual: Usual,
    /// Whether its guidance is told to the network, or is none.
    pub guidance_distilled: bool,
    /// Whether it paints parts of pictures and nothing else.
    pub inpaints_only: bool,
    /// Whether its words have maps.
    pub word_maps: bool,
    /// Prompts that suit it.
    pub examples: Vec<&'static str>,
    /// What a small model knows.
    pub words: Option<KnownWords>,
    /// Why it cannot be opened.
    pub faults: Option<String>,
}

/// What is sampled where a request does not say.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Usual {
    /// Steps.
    pub steps: usize,
    /// Scale.
    pub guidance: f64,
    /// The sampler; `None` where the model's file names one that there is not.
    pub sampler: Option<SamplerKind>,
}

/// What a small model knows; it knows nothing else.
#[derive(Debug, Clone, Serialize)]
pub struct KnownWords {
    nouns: Vec<&'static str>,
    colours: Vec<&'static str>,
    relations: Vec<&'static str>,
}

impl Usual {
    /// Of a model: the library's, but for the released one, whose card was measured with these.
    pub fn of(model: &Model, is_released: bool) -> Self {
        if is_released {
            return Self { steps: 20, guidance: 4.0, sampler: Some(SamplerKind::EulerAncestral) };
        }
        Self {
            steps: model.default_steps(),
            guidance: model.default_guidance(),
            sampler: SamplerKind::from_config(&model.scheduler).ok(),
        }
    }
}

impl Facts {
    /// Of a model that was opened.
    pub fn of(name: &str, model: &Model, is_released: bool, bytes: u64) -> Self {
        let side = model.default_size();
        Self {
            name: name.to_owned(),
            family: family(model).to_owned(),
            loaded: false,
            bytes,
            width: side,
            height: side,
            side_multiple: model.side_multiple(),
            most_side: crate::config::Limits::default().most_side,
            usual: Usual::of(model, is_released),
            guidance_distilled: model.is_guidance_distilled(),
            inpaints_only: model.is_inpainting(),
            word_maps: true,
            examples: if is_released { EXAMPLES.to_vec() } else { vec![] },
            words: is_released.then(KnownWords::of_scenes),
            faults: None,
        }
    }

    /// Of one that cannot be opened.
    pub fn broken(name: &str, why: &str) -> Self {
        Self {
            name: name.to_owned(),
            family: "unknown".to_owned(),
            loaded: false,
            bytes: 0,
            width: 0,
            height: 0,
            side_multiple: 1,
            most_side: 0,
            usual: Usual { steps: 0, guidance: 1.0, sampler: None },
            guidance_distilled: false,
            inpaints_only: false,
            word_maps: false,
            examples: vec![],
            words: None,
            faults: Some(why.to_owned()),
        }
    }

    /// The same, in memory.
    pub fn in_memory(self) -> Self {
        Self { loaded: true, ..self }
    }
}

/// Prompts that suit the released model.
const EXAMPLES: [&str; 6] = [
    "a cat sitting by the window",
    "an apple on top of a book",
    "a dog to the left of a tree on a blue background",
    "a rocket far from the moon",
    "a whale below a boat",
    "a big pizza on a pink background",
];

impl KnownWords {
    fn of_scenes() -> Self {
        Self {
            nouns: Noun::ALL.iter().map(|noun| noun.name()).collect(),
            colours: Colour::ALL.iter().map(|colour| colour.name()).collect(),
            relations: Relation::ALL.iter().map(|relation| relation.phrasings()[0]).collect(),
        }
    }
}

fn family(model: &Model) -> &'static str {
    let openai = model.tokenizer().vocab_size() == OPENAI_VOCABULARY;
    match (&model.denoiser.config, model.text.clip.len()) {
        (DenoiserConfig::Flux(_), _) => "Flux",
        (_, 2) => "Stable Diffusion XL",
        _ if openai && model.text.width() == 768 => "Stable Diffusion 1",
        _ if openai && model.text.width() == 1024 => "Stable Diffusion 2",
        _ => "Calotype",
    }
}
