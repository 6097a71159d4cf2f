//! `calotype evaluate --localisation --model MODEL`: do its words read where the things are that they name?

use std::collections::BTreeMap;
use std::path::Path;

use calotype::Result;
use calotype::data::emoji_scenes::Noun;
use calotype::explain::localisation::Estimate;
use calotype::pipeline::Request;
use calotype::prompt_benchmark::Known;
use calotype::validation::localisation::{LocalisationProtocol, localisation};
use calotype::validation::localisation_score::Score;
use calotype::validation::scene_words::WordClass;
use serde_json::json;

use crate::message;
use crate::options::Context;

/// Options of the localisation score.
#[derive(clap::Args)]
#[command(next_help_heading = "Localisation score (docs/evaluation.md)")]
pub struct LocalisationArgs {
    /// Score whether the words of --model read where the things are that they name, in held-out scenes whose masks are
    /// known: pointing, IoU, and the share of the heat, for each class of word
    #[arg(long, requires = "model", group = "asked_of_model", conflicts_with = "batch")]
    pub localisation: bool,
    /// Scenes
    #[arg(long, default_value_t = 200, value_name = "N", requires = "localisation")]
    scenes: usize,
}

impl LocalisationArgs {
    /// Measures and prints. `nouns`: of the scenes, those of the model's run if there are none; `seed`: of the noise.
    pub fn run(&self, model: &Path, nouns: &[Noun], seed: u64, context: &Context) -> Result<()> {
        let nouns = if nouns.is_empty() { known_nouns(model, context)? } else { nouns.to_vec() };
        let protocol = LocalisationProtocol { scenes: self.scenes, seed, nouns };
        let request = Request { model: Some(model.to_owned()), ..Request::default() };
        let loaded = request.load(context.machine())?;
        let scores = localisation(&loaded, &protocol, context.machine())?;
        if context.json {
            let commit = env!("CALOTYPE_COMMIT");
            message::json(&json!({ "localisation": scores, "protocol": protocol, "commit": commit }));
        } else {
            print(&scores);
        }
        Ok(())
    }
}

/// Those that the model's run says that it was trained on; all if it says nothing.
fn known_nouns(model: &Path, context: &Context) -> Result<Vec<Noun>> {
    let Some(Known { nouns, recipe, .. }) = Known::of(model)? else { return Ok(Noun::ALL.to_vec()) };
    let (recipe, n) = (recipe.display(), nouns.len());
    context.bars.say(&format!("{recipe}: the model knows {n} nouns; --nouns asks for others"));
    Ok(nouns)
}

/// A row for each class of words.
fn print(scores: &BTreeMap<&str, Option<Score>>) {
    let row = |columns: [&str; 7]| {
        let [class, words, pointing, iou, threshold, mass, area] = columns;
        println!("{class:<9} {words:>6}  {pointing:<25} {iou:<16} {threshold:<10} {mass:<16} {area}");
    };
    row(["words", "number", "pointing (95 %)", "IoU", "threshold", "heat inside", "area (chance)"]);
    for class in WordClass::ALL.map(WordClass::name) {
        let Some(Some(score)) = scores.get(class) else {
            row([class, "0", "-", "-", "-", "-", "-"]);
            continue;
        };
        let (low, high) = score.pointing.interval();
        row([
            class,
            &score.n.to_string(),
            &format!("{:.3} ({low:.3} to {high:.3})", score.pointing.rate()),
            &estimate(&score.iou),
            &format!("{:.2}", score.iou_threshold),
            &estimate(&score.mass_inside),
            &format!("{:.3}", score.area_share.mean),
        ]);
    }
}

fn estimate(value: &Estimate) -> String {
    let error = value.standard_error.map_or(String::new(), |error| format!(" ± {error:.3}"));
    format!("{:.3}{error}", value.mean)
}
