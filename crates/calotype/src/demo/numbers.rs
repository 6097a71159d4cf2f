//! The numbers of a demo: for programs, and as the rows of a table.

use serde_json::{Value, json};

use super::accuracy::Accuracy;
use super::evaluation::Evaluation;

/// Name, value and how it was measured.
pub type Row = [String; 3];

impl Evaluation {
    /// `metrics.json`. `commit`: of the program.
    pub fn metrics(&self, commit: &str, training_seconds: f64, total_seconds: f64) -> Value {
        json!({
            "reconstruction_psnr": self.psnr,
            "reconstruction_ssim": self.ssim,
            "clip_retrieval_at_1": self.retrieval.found,
            "clip_retrieval_chance": self.retrieval.chance,
            "prompt_accuracy": self.accuracy.model.rate(),
            "prompt_accuracy_unconditional": self.accuracy.unconditional.rate(),
            "prompt_accuracy_chance": self.accuracy.chance.rate(),
            "prompt_accuracy_ground_truth": self.accuracy.ground_truth.rate(),
            "prompt_accuracy_reconstruction": self.accuracy.reconstruction.rate(),
            "noun_accuracy": self.nouns.model.rate(),
            "noun_accuracy_unconditional": self.nouns.unconditional.rate(),
            "noun_accuracy_chance": self.nouns.chance.rate(),
            "noun_accuracy_ground_truth": self.nouns.ground_truth.rate(),
            "noun_accuracy_reconstruction": self.nouns.reconstruction.rate(),
            "p_value_above_chance": self.p_value_above_chance,
            "p_value_above_unconditional": self.p_value_above_unconditional,
            "fd_clip": self.generated.fd_clip,
            "fd_clip_unconditional": self.unconditional_clip.fd_clip,
            "is_clip": self.generated.is_clip,
            "heat_map_mass_inside": self.localisation.mass_inside.mean,
            "heat_map_area_share": self.localisation.area_share.mean,
            "heat_map_pictures": self.localised_pictures,
            "heat_map_words": self.localisation.n,
            "protocol": {
                "scenes": self.scenes.len(), "split": "held-out compositions", "sampler": self.sampling.sampler.kind.name(),
                "steps": self.sampling.sampler.steps, "guidance": self.guidance, "seed": self.sampling.seed,
                "commit": commit,
            },
            "training_seconds": training_seconds,
            "total_seconds": total_seconds,
        })
    }

    /// Every number with its controls, for readers.
    pub fn rows(&self) -> Vec<Row> {
        let sampled = self.sampled();
        let mut rows = self.of_parts();
        rows.extend(of_accuracy("Prompt accuracy (all nouns and the relation)", &self.accuracy, &sampled));
        rows.extend(of_accuracy("Noun accuracy", &self.nouns, &sampled));
        rows.extend(self.of_sets_and_words(&sampled));
        rows
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
        let (found, chance) = (100.0 * self.retrieval.found, 100.0 * self.retrieval.chance);
        let candidates = self.retrieval.candidates;
        vec![
            row("Reconstruction PSNR", format!("{:.2} dB", self.psnr), &held_out),
            row("Reconstruction SSIM", format!("{:.4}", self.ssim), &held_out),
            row(
                "CLIP retrieval at 1",
                format!("{found:.1} % (chance {chance:.1} %)"),
                &format!("{candidates} candidates, both directions, held-out scenes"),
            ),
        ]
    }

    fn of_sets_and_words(&self, sampled: &str) -> Vec<Row> {
        let clip = "our CLIP's features; not comparable with published FID or IS";
        let (fd, fd_empty) = (self.generated.fd_clip, self.unconditional_clip.fd_clip);
        let inside = 100.0 * self.localisation.mass_inside.mean;
        let share = 100.0 * self.localisation.area_share.mean;
        let words = format!(
            "{} words in {} pictures, boxes by the checker",
            self.localisation.n, self.localised_pictures
        );
        vec![
            row("fd-clip", format!("{fd:.4}"), &format!("{sampled}; {clip}")),
            row("fd-clip, empty prompt", format!("{fd_empty:.4}"), clip),
            row("is-clip", format!("{:.2}", self.generated.is_clip), &format!("40 nouns, 1 split; {clip}")),
            row(
                "Heat map's mass inside the object's box",
                format!("{inside:.1} % of the mass on {share:.1} % of the area"),
                &words,
            ),
        ]
    }
}

fn row(name: &str, value: String, how: &str) -> Row {
    [name.to_owned(), value, how.to_owned()]
}

/// One kind of accuracy, its controls and its calibrations.
fn of_accuracy(what: &str, accuracy: &Accuracy, sampled: &str) -> Vec<Row> {
    let Accuracy { model, unconditional, chance, ground_truth, reconstruction } = accuracy;
    vec![
        row(what, model.to_string(), sampled),
        row("· empty prompt", unconditional.to_string(), "control: sampled without a prompt"),
        row("· other prompt", chance.to_string(), "control: checked against another prompt"),
        row("· rendered scenes", ground_truth.to_string(), "calibration: what the checker reads"),
        row("· reconstructions", reconstruction.to_string(), "calibration: after the VAE"),
    ]
}
