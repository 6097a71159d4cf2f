//! How well edits go: over scenes with one noun exchanged, beside plainly asking for the other prompt with the same seed.

use std::env;
use std::ops::ControlFlow;
use std::path::PathBuf;

use burn::tensor::Device;
use calotype::data::emoji_scenes::split::is_held_out;
use calotype::data::emoji_scenes::{Noun, Rect, Split};
use calotype::diffusion::guidance::Guidance;
use calotype::evaluate::pixel::psnr;
use calotype::evaluate::prompt_accuracy::Proportion;
use calotype::evaluate::scene_checker::{Detection, SceneChecker};
use calotype::explain::prompt_to_prompt::{Blend, Edit, edit};
use calotype::model::Model;
use calotype::pipeline::text_to_image::{PictureRequest, Sampling};
use calotype::sampler::SamplerSettings;
use calotype::trainer::Recipe;
use image::RgbImage;

/// Scenes whose captions are edited.
const PROMPTS: u64 = 64;

/// A prompt, and the same with one noun exchanged.
struct Exchange {
    prompt: String,
    to: String,
    old: Noun,
    new: Noun,
    /// The noun that stays.
    other: Noun,
}

/// Scene `i` of seen pairs, with its first and its second noun in turn exchanged for one that training has shown beside the
/// other.
fn exchange(recipe: &Recipe, i: u64) -> Exchange {
    let scenes = recipe.scenes().unwrap();
    let scene = scenes.scene(Split::Seen, i);
    let mut nouns: Vec<Noun> = scene.spec.objects.iter().map(|(noun, _)| *noun).take(2).collect();
    if i % 2 == 1 {
        nouns.reverse();
    }
    let (old, other) = (nouns[0], nouns[1]);
    let fits = |noun: &&Noun| **noun != old && **noun != other && !is_held_out(**noun, other);
    let others: Vec<&Noun> = scenes.config().nouns.iter().filter(fits).collect();
    let new = *others[i as usize % others.len()];
    let mut words: Vec<&str> = scene.caption.split(' ').collect();
    for word in &mut words {
        if *word == old.name() {
            *word = new.name();
        }
    }
    for i in 1..words.len() {
        if ["a", "an"].contains(&words[i - 1]) {
            words[i - 1] = if words[i].starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
        }
    }
    Exchange { to: words.join(" "), prompt: scene.caption, old, new, other }
}

/// What was measured of one way to edit.
#[derive(Default)]
struct Score {
    n: usize,
    found: usize,
    in_place: usize,
    gone: usize,
    other_kept: usize,
    squares: f64,
    pixels: usize,
}

impl Score {
    /// `before`, in which the old noun has its box and the other noun `other`, and `after`.
    fn add(
        &mut self,
        checker: &SceneChecker,
        exchange: &Exchange,
        pictures: [&RgbImage; 2],
        boxes: [Rect; 2],
    ) {
        let [before, after] = pictures;
        let [old, other] = boxes;
        let found = checker.detect(after);
        let of = |noun: Noun| found.iter().filter(move |detection| detection.noun == noun);
        let centred_in = |place: Rect| move |detection: &Detection| contains(place, centre(detection.rect));
        self.n += 1;
        self.found += usize::from(of(exchange.new).next().is_some());
        self.in_place += usize::from(of(exchange.new).any(centred_in(old)));
        self.gone += usize::from(of(exchange.old).next().is_none());
        self.other_kept += usize::from(of(exchange.other).any(centred_in(other)));
        // The new object may be larger than the old one, where it has its place.
        let new =
            of(exchange.new).find(|detection| centred_in(old)(detection)).map(|detection| detection.rect);
        for (x, y, pixel) in before.enumerate_pixels() {
            let inside = |place: Rect| contains(place, [x as f32 + 0.5, y as f32 + 0.5]);
            if inside(old) || new.is_some_and(inside) {
                continue;
            }
            for (a, b) in pixel.0.iter().zip(after.get_pixel(x, y).0) {
                self.squares += (f64::from(*a) - f64::from(b)).powi(2);
                self.pixels += 1;
            }
        }
    }

    fn psnr(&self) -> f64 {
        psnr(self.squares / self.pixels as f64, 255.0).unwrap()
    }

    fn row(&self, name: &str) -> String {
        let of = |hits| {
            let share = Proportion::new(hits, self.n).unwrap();
            let (low, high) = share.interval();
            format!("{:.0} ({:.0}-{:.0})", 100.0 * share.rate(), 100.0 * low, 100.0 * high)
        };
        let [found, place, gone, other] = [self.found, self.in_place, self.gone, self.other_kept].map(of);
        format!("| {name} | {found} | {place} | {gone} | {other} | {:.1} |", self.psnr())
    }
}

fn centre(rect: Rect) -> [f32; 2] {
    [rect.x as f32 + rect.width as f32 / 2.0, rect.y as f32 + rect.height as f32 / 2.0]
}

fn contains(rect: Rect, [x, y]: [f32; 2]) -> bool {
    let within =
        |value: f32, start: u32, length: u32| value >= start as f32 && value < (start + length) as f32;
    within(x, rect.x, rect.width) && within(y, rect.y, rect.height)
}

/// Shares of cross- and self-attention, and whether the rest is blended.
const WAYS: [(f64, f64, bool); 8] = [
    (0.8, 0.0, false),
    (0.8, 0.4, false),
    (1.0, 0.8, false),
    (0.0, 0.0, true),
    (0.4, 0.2, true),
    (0.8, 0.0, true),
    (0.8, 0.4, true),
    (1.0, 0.8, true),
];

/// docs/edit.md has the table that this prints.
#[test]
#[ignore = "needs CALOTYPE_RUN, a run of the demo"]
fn a_noun_is_exchanged_and_the_rest_stays() {
    let Some(run) = env::var_os("CALOTYPE_RUN").map(PathBuf::from) else {
        return println!("not measured: CALOTYPE_RUN names no run of `demo`");
    };
    let recipe = Recipe::read(&run.join("recipe.toml")).unwrap();
    let model = Model::load(&run.join("model"), &Device::flex()).unwrap();
    let asked = recipe.evaluation().unwrap();
    let side = model.default_size();
    let sampling = Sampling::new(SamplerSettings::new(asked.sampler, asked.steps), asked.seed, side);
    let checker = SceneChecker::new(side as u32).unwrap();
    let mut plain = Score::default();
    let mut scores: Vec<Score> = WAYS.iter().map(|_| Score::default()).collect();
    for i in 0..PROMPTS {
        let exchange = exchange(&recipe, i);
        let guidance = Guidance::new(asked.guidance);
        let [source, edited] = [&exchange.prompt, &exchange.to].map(|p| PictureRequest::new(p, guidance, i));
        let pictures = model.generate(&[source.clone(), edited.clone()], &sampling).unwrap();
        let seen = checker.detect(&pictures[0]);
        let place = |noun: Noun| seen.iter().find(|found| found.noun == noun).map(|found| found.rect);
        let (Some(old), Some(other)) = (place(exchange.old), place(exchange.other)) else {
            continue; // There is nothing to edit.
        };
        plain.add(&checker, &exchange, [&pictures[0], &pictures[1]], [old, other]);
        for ((cross, self_attention, blends), score) in WAYS.into_iter().zip(&mut scores) {
            let blend = if blends { Blend::Differing } else { Blend::Off };
            let how = Edit { cross, self_attention, weights: vec![], blend };
            let on_step = &mut |_, _| ControlFlow::Continue(());
            let made = edit(&model, [&source, &edited], &sampling, None, &how, on_step).unwrap();
            let after = model.decode(made.latents.narrow(0, 1, 1), false).unwrap().swap_remove(0);
            score.add(&checker, &exchange, [&pictures[0], &after], [old, other]);
        }
    }
    println!("{} of {PROMPTS} first pictures show both nouns", plain.n);
    println!("{}", plain.row("plain"));
    for ((cross, self_attention, blends), score) in WAYS.iter().zip(&scores) {
        let name = format!("cross {cross}, self {self_attention}{}", if *blends { ", blended" } else { "" });
        println!("{}", score.row(&name));
    }
    let default = &scores[6];
    assert!(default.psnr() > plain.psnr() + 6.0, "{} {}", default.psnr(), plain.psnr());
    assert!(default.found * 10 >= default.n * 6, "{} of {}", default.found, default.n);
    assert!(default.in_place > plain.in_place, "{} {}", default.in_place, plain.in_place);
}
