//! The numbers of a demo: for programs, and as the rows of a table.

use serde_json::{Value, json};

use super::accuracy::{Accuracy, SeenPairs};
use super::clip_metrics::ClipMetrics;
use super::evaluation::Evaluation;
use super::measure::{Measure, part, shown};
use super::subject::MeanRetrieval;
use crate::evaluate::prompt_accuracy::Proportion;
use crate::explain::localisation::Localisation;

/// Name, value and how it was measured.
pub type Row = [String; 3];

impl Evaluation {
    /// `metrics.json`. A metric that could not be computed is null, and `not_measured` has the reason. `commit`: of the
    /// program.
    pub fn metrics(&self, commit: &str, training_seconds: f64, total_seconds: f64) -> Value {
        let mut metrics = json!({
            "p_value_above_chance": self.p_value_above_chance,
            "p_value_above_unconditional": self.p_value_above_unconditional,
            "heat_map_pictures": self.localised_pictures,
            "heat_map_words": self.localisation.as_ref().map_or(0, |localisation| localisation.n),
            "protocol": {
                "scenes": self.scenes.len(), "split": "held-out pairs of nouns", "sampler": self.sampling.sampler.kind.name(),
                "steps": self.sampling.sampler.steps, "guidance": self.guidance, "seed": self.sampling.seed,
                "commit": commit,
            },
            "training_seconds": training_seconds,
            "total_seconds": total_seconds,
        });
        let mut reasons = serde_json::Map::new();
        for (name, measured) in self.measured() {
            let finite = measured.and_then(|value| {
                if value.is_finite() { Ok(value) } else { Err(format!("it is no finite number: {value}")) }
            });
            metrics[name] = json!(finite.as_ref().ok());
            if let Err(reason) = finite {
                reasons.insert(name.into(), reason.into());
            }
        }
        metrics["not_measured"] = reasons.into();
        let intervals = self.shares().into_iter();
        let intervals = intervals.filter_map(|(name, share)| Some((name, json!(share.ok()?.interval()))));
        metrics["intervals_95"] = intervals.collect();
        metrics
    }

    /// Shares of independent trials that the model reaches, by their names in `metrics.json`.
    fn shares(&self) -> [(&'static str, Measure<Proportion>); 6] {
        [
            ("prompt_accuracy", part(&self.accuracy, |accuracy| accuracy.model)),
            ("noun_accuracy", part(&self.nouns, |nouns| nouns.model)),
            ("relation_accuracy", self.relations.clone()),
            ("prompt_accuracy_seen_pairs", part(&self.seen, |seen| seen.prompts)),
            ("noun_accuracy_seen_pairs", part(&self.seen, |seen| seen.nouns)),
            ("relation_accuracy_seen_pairs", self.seen_relations()),
        ]
    }

    /// The metrics, by their names in `metrics.json`.
    fn measured(&self) -> Vec<(&'static str, Measure<f64>)> {
        let (retrieval, accuracy, nouns) = (&self.retrieval, &self.accuracy, &self.nouns);
        let words = &self.localisation;
        let shares = self.shares().into_iter().map(|(name, share)| (name, share.map(|share| share.rate())));
        let others = [
            ("reconstruction_psnr", self.psnr.clone()),
            ("reconstruction_ssim", self.ssim.clone()),
            ("clip_retrieval_at_1", part(retrieval, |retrieval| retrieval.found)),
            ("clip_retrieval_chance", part(retrieval, |retrieval| retrieval.chance)),
            ("prompt_accuracy_unconditional", part(accuracy, |accuracy| accuracy.unconditional.rate())),
            ("prompt_accuracy_chance", part(accuracy, |accuracy| accuracy.chance.rate())),
            ("prompt_accuracy_ground_truth", part(accuracy, |accuracy| accuracy.ground_truth.rate())),
            ("prompt_accuracy_reconstruction", part(accuracy, |accuracy| accuracy.reconstruction.rate())),
            ("noun_accuracy_unconditional", part(nouns, |nouns| nouns.unconditional.rate())),
            ("noun_accuracy_chance", part(nouns, |nouns| nouns.chance.rate())),
            ("noun_accuracy_ground_truth", part(nouns, |nouns| nouns.ground_truth.rate())),
            ("noun_accuracy_reconstruction", part(nouns, |nouns| nouns.reconstruction.rate())),
            ("heat_map_pointing", part(words, |words| words.pointing_game.mean)),
            ("fd_clip", self.generated.fd_clip.clone()),
            ("fd_clip_unconditional", self.unconditional_clip.fd_clip.clone()),
            ("is_clip", self.generated.is_clip.clone()),
            ("heat_map_mass_inside", part(words, |words| words.mass_inside.mean)),
            ("heat_map_area_share", part(words, |words| words.area_share.mean)),
        ];
        others.into_iter().chain(shares).collect()
    }

    /// Every number with its controls, for readers.
    pub fn rows(&self) -> Vec<Row> {
        let sampled = self.sampled();
        let mut rows = self.of_parts();
        rows.extend(of_accuracy("Prompt accuracy (all nouns and the relation)", &self.accuracy, &sampled));
        rows.extend(of_accuracy("Noun accuracy", &self.nouns, &sampled));
        rows.extend(self.of_relations_and_seen_pairs(&sampled));
        rows.extend(self.of_sets_and_words(&sampled));
        rows
    }

    /// How often relations hold in pictures of seen pairs.
    fn seen_relations(&self) -> Measure<Proportion> {
        self.seen.as_ref().map_err(Clone::clone).and_then(|seen| seen.relations.clone())
    }

    fn of_relations_and_seen_pairs(&self, sampled: &str) -> Vec<Row> {
        let text = |relations: &Measure<Proportion>| shown(relations, Proportion::to_string);
        let seen = |seen: &SeenPairs| {
            let SeenPairs { prompts, nouns, relations, .. } = seen;
            format!("prompts {prompts}; nouns {nouns}; relations {}", text(relations))
        };
        let given = "where both nouns are found; two sprites thrown at random: 18.9 %";
        let new = format!("{sampled}, but of pairs of nouns that training has shown, in new scenes");
        vec![
            row("Relation accuracy", text(&self.relations), &format!("{sampled}; {given}")),
            row("Seen pairs", shown(&self.seen, seen), &new),
        ]
    }

    /// How the pictures were made.
    fn sampled(&self) -> String {
        format!(
            "{} held-out prompts, {} {} steps, guidance {}, seed {}",
            self.scenes.len(),
            self.sampling.sampler.kind,
            self.sampling.sampler.steps,
            self.guidance,
            self.sampling.seed
        )
    }

    /// Autoencoder and CLIP by themselves.
    fn of_parts(&self) -> Vec<Row> {
        let held_out = format!("{} held-out scenes", self.scenes.len());
        let candidates = self.retrieval.as_ref().map_or(0, |retrieval| retrieval.candidates);
        let found = |retrieval: &MeanRetrieval| {
            let (found, chance) = (100.0 * retrieval.found, 100.0 * retrieval.chance);
            format!("{found:.1} % (chance {chance:.1} %)")
        };
        vec![
            row("Reconstruction PSNR", shown(&self.psnr, |psnr| format!("{psnr:.2} dB")), &held_out),
            row("Reconstruction SSIM", shown(&self.ssim, |ssim| format!("{ssim:.4}")), &held_out),
            row(
                "CLIP retrieval at 1",
                shown(&self.retrieval, found),
                &format!("{candidates} candidates, both directions, held-out scenes"),
            ),
        ]
    }

    fn of_sets_and_words(&self, sampled: &str) -> Vec<Row> {
        let clip = "our CLIP's features; not comparable with published FID or IS";
        let distance = |metrics: &ClipMetrics| shown(&metrics.fd_clip, |fd| format!("{fd:.4}"));
        let score = shown(&self.generated.is_clip, |is| format!("{is:.2}"));
        let inside = |localisation: &Localisation| {
            let inside = 100.0 * localisation.mass_inside.mean;
            let share = 100.0 * localisation.area_share.mean;
            let pointing = 100.0 * localisation.pointing_game.mean;
            format!(
                "{inside:.1} % of the mass on {share:.1} % of the area, the hottest pixel in {pointing:.1} %"
            )
        };
        let n = self.localisation.as_ref().map_or(0, |localisation| localisation.n);
        let words = format!("{n} words in {} pictures, boxes by the checker", self.localised_pictures);
        vec![
            row("fd-clip", distance(&self.generated), &format!("{sampled}; {clip}")),
            row("fd-clip, empty prompt", distance(&self.unconditional_clip), clip),
            row("is-clip", score, &format!("a class for each noun, 1 split; {clip}")),
            row("Heat map inside the object's box", shown(&self.localisation, inside), &words),
        ]
    }
}

fn row(name: &str, value: String, how: &str) -> Row {
    [name.to_owned(), value, how.to_owned()]
}

/// One kind of accuracy, its controls and its calibrations.
fn of_accuracy(what: &str, measured: &Measure<Accuracy>, sampled: &str) -> Vec<Row> {
    let Accuracy { model, unconditional, chance, ground_truth, reconstruction } = match measured {
        Ok(accuracy) => accuracy,
        Err(_) => return vec![row(what, shown(measured, |_| String::new()), sampled)],
    };
    vec![
        row(what, model.to_string(), sampled),
        row("· empty prompt", unconditional.to_string(), "control: sampled without a prompt"),
        row("· other prompt", chance.to_string(), "control: checked against another prompt"),
        row("· rendered scenes", ground_truth.to_string(), "calibration: what the checker reads"),
        row("· reconstructions", reconstruction.to_string(), "calibration: after the VAE"),
    ]
}
