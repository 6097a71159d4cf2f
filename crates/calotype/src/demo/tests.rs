use super::accuracy::{Accuracy, SeenPairs};
use super::clip_metrics::ClipMetrics;
use super::evaluation::Evaluation;
use super::measure::{Measure, measure};
use super::report::{facts, summary, words_text};
use super::subject::MeanRetrieval;
use super::{Recipe, recipe};
use crate::error::Error;
use crate::evaluate::prompt_accuracy::Proportion;
use crate::explain::localisation::{Hit, Localisation};
use crate::pipeline::text_to_image::{Sampling, Sizes};
use crate::sampler::{Generator, SamplerSettings};
use crate::text_encoder::reading::PromptOptions;

/// An evaluation of nothing in which every metric has a value.
fn measured(recipe: &Recipe) -> Evaluation {
    let asked = recipe.evaluation().unwrap();
    let half = || Proportion::new(1, 2).unwrap();
    let accuracy = || Accuracy {
        model: half(),
        unconditional: half(),
        chance: half(),
        ground_truth: half(),
        reconstruction: half(),
    };
    let clip = || ClipMetrics { fd_clip: Ok(3.0), is_clip: Ok(1.5) };
    let hit = Hit { mass_inside: 0.5, area_share: 0.25, ratio: 2.0, pointing_game: true };
    Evaluation {
        scenes: vec![],
        reconstructions: vec![],
        explanations: vec![],
        verdicts: vec![],
        sampling: Sampling {
            sampler: SamplerSettings::new(asked.sampler, asked.steps),
            seed: 1,
            generator: Generator::default(),
            width: 32,
            height: 32,
            sizes: Sizes::default(),
            prompts: PromptOptions::default(),
        },
        guidance: 2.0,
        psnr: Ok(20.0),
        ssim: Ok(0.9),
        retrieval: Ok(MeanRetrieval { found: 0.5, chance: 0.25, candidates: 4 }),
        accuracy: Ok(accuracy()),
        p_value_above_chance: 0.5,
        p_value_above_unconditional: 0.5,
        nouns: Ok(accuracy()),
        relations: Ok(half()),
        seen: Ok(SeenPairs {
            scenes: vec![],
            pictures: vec![],
            verdicts: vec![],
            prompts: half(),
            nouns: half(),
            relations: Ok(half()),
        }),
        generated: clip(),
        unconditional_clip: clip(),
        localisation: Ok(Localisation::of(&[hit]).unwrap()),
        localised_pictures: 1,
    }
}

/// Takes one metric away; its names in `metrics.json`.
type Missing = (fn(&mut Evaluation, String), &'static [&'static str]);

const METRICS: [Missing; 11] = [
    (|e, why| e.psnr = Err(why), &["reconstruction_psnr"]),
    (|e, why| e.ssim = Err(why), &["reconstruction_ssim"]),
    (|e, why| e.retrieval = Err(why), &["clip_retrieval_at_1", "clip_retrieval_chance"]),
    (|e, why| e.accuracy = Err(why), &["prompt_accuracy", "prompt_accuracy_chance"]),
    (|e, why| e.nouns = Err(why), &["noun_accuracy", "noun_accuracy_ground_truth"]),
    (|e, why| e.relations = Err(why), &["relation_accuracy"]),
    (|e, why| e.seen = Err(why), &["prompt_accuracy_seen_pairs", "relation_accuracy_seen_pairs"]),
    (|e, why| e.generated.fd_clip = Err(why), &["fd_clip"]),
    (|e, why| e.unconditional_clip.fd_clip = Err(why), &["fd_clip_unconditional"]),
    (|e, why| e.generated.is_clip = Err(why), &["is_clip"]),
    (|e, why| e.localisation = Err(why), &["heat_map_mass_inside", "heat_map_pointing"]),
];

#[test]
fn a_metric_that_cannot_be_computed_is_missing_with_its_reason() {
    let recipe = recipe("smoke").unwrap();
    for (take_away, names) in METRICS {
        let mut evaluation = measured(&recipe);
        take_away(&mut evaluation, "nothing was found".into());
        let metrics = evaluation.metrics("commit", 1.0, 2.0);
        for name in names {
            assert!(metrics[name].is_null(), "{name}: {metrics}");
            assert_eq!(metrics["not_measured"][name], "nothing was found");
        }
        let said = evaluation.rows().iter().filter(|row| row[1] == "not measured: nothing was found").count();
        assert_eq!(said, 1, "{names:?}");
        // The page is made nevertheless.
        assert_eq!((facts(&evaluation).len(), summary(&recipe, &evaluation).len()), (4, 2));
        assert_eq!(words_text(&evaluation).contains("nothing was found"), evaluation.localisation.is_err());
    }
}

#[test]
fn what_is_measured_has_no_reason() {
    let evaluation = measured(&recipe("smoke").unwrap());
    let metrics = evaluation.metrics("commit", 1.0, 2.0);
    assert_eq!(metrics["not_measured"], serde_json::json!({}));
    assert_eq!(metrics["heat_map_mass_inside"], 0.5);
    assert_eq!(metrics["prompt_accuracy"], 0.5);
    assert_eq!(metrics["heat_map_words"], 1);
    let mut infinite = measured(&recipe("smoke").unwrap());
    infinite.psnr = Ok(f64::INFINITY);
    let metrics = infinite.metrics("commit", 1.0, 2.0);
    assert!(
        metrics["reconstruction_psnr"].is_null()
            && metrics["not_measured"]["reconstruction_psnr"].is_string()
    );
}

#[test]
fn an_interruption_is_no_missing_metric() {
    let missing: Measure<()> = measure(Err(Error::data("rows", "at least 2", 1))).unwrap();
    assert_eq!(missing.unwrap_err(), "rows: expected at least 2, got 1");
    assert!(matches!(measure::<()>(Err(Error::Interrupted { step: 0 })), Err(Error::Interrupted { .. })));
}
