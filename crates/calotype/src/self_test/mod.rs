//! `calotype self-test`: golden cases, computed and compared with what must come out.
//!
//! What training, sampling and evaluation call is called here too. A few cases ask for formulas that nothing in the
//! product runs: these are in `reference.rs`. Others give a function of the product a setting that no command has;
//! `docs/golden-cases.md` lists both.
//!
//! A file is `{"schema": 2, "topic": name, "cases": [...]}`; `docs/golden-cases.md` says what a case holds.

pub mod arrays;
pub mod case;
mod frechet;
mod image;
mod inception_score;
mod kid;
mod losses;
mod prdc;
mod reference;
mod resize;
mod samplers;
mod schedules;
mod tensors;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use case::unreadable;
pub use case::{Case, Found, Inputs};

use crate::error::{Error, Result};

/// The project's own copy of the cases, by file name.
const EMBEDDED: [(&str, &str); 10] = [
    ("public_frechet.json", include_str!("../../tests/golden/public_frechet.json")),
    ("public_generators.json", include_str!("../../tests/golden/public_generators.json")),
    ("public_image.json", include_str!("../../tests/golden/public_image.json")),
    ("public_inception_score.json", include_str!("../../tests/golden/public_inception_score.json")),
    ("public_kid.json", include_str!("../../tests/golden/public_kid.json")),
    ("public_losses.json", include_str!("../../tests/golden/public_losses.json")),
    ("public_prdc.json", include_str!("../../tests/golden/public_prdc.json")),
    ("public_resize.json", include_str!("../../tests/golden/public_resize.json")),
    ("public_samplers.json", include_str!("../../tests/golden/public_samplers.json")),
    ("public_schedules.json", include_str!("../../tests/golden/public_schedules.json")),
];

/// The cases of one file.
#[derive(Debug, Clone)]
pub struct CaseFile {
    /// Name of the file.
    pub name: String,
    /// In the order of the file.
    pub cases: Vec<Case>,
}

/// A case that did not come out as expected.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Failure {
    /// Name of the case's file.
    pub file: String,
    /// The case.
    pub id: String,
    /// Got, expected, tolerance; or why nothing was computed.
    pub reason: String,
}

/// How many cases came out as expected, and those that did not.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Cases that came out as expected.
    pub passed: usize,
    /// Number of `failures`.
    pub failed: usize,
    /// In the order of files and cases.
    pub failures: Vec<Failure>,
}

/// The cases that come with the program.
///
/// # Errors
/// None in a program that passed its tests: `Error::Format` if a file is not a case file.
pub fn embedded() -> Result<Vec<CaseFile>> {
    EMBEDDED.iter().map(|(name, text)| parse(Path::new(name), text)).collect()
}

/// The cases of every `*.json` in a folder, by name.
///
/// # Errors
/// `Error::Io`; `Error::Format` for a file that is not a case file; `Error::Argument` for a folder
/// without such files.
pub fn read(folder: &Path) -> Result<Vec<CaseFile>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let path = entry.map_err(Error::io("read", folder))?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.is_empty() {
        let got = format!("`{}`, which has none", folder.display());
        return Err(Error::argument("cases", "a folder with case files, *.json", got));
    }
    let file = |path: &Path| parse(path, &std::fs::read_to_string(path).map_err(Error::io("read", path))?);
    paths.iter().map(|path| file(path)).collect()
}

fn parse(path: &Path, text: &str) -> Result<CaseFile> {
    #[derive(Deserialize)]
    struct File {
        schema: u64,
        cases: Vec<Case>,
    }
    let file: File = serde_json::from_str(text).map_err(|e| Error::format(path, "golden cases (JSON)", e))?;
    if file.schema != 2 {
        return Err(Error::format(path, "golden cases of schema 2", format!("schema {}", file.schema)));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(CaseFile { name, cases: file.cases })
}

/// Computes and compares every case.
pub fn run(files: &[CaseFile]) -> Summary {
    let cases: Vec<(&CaseFile, &Case)> =
        files.iter().flat_map(|file| file.cases.iter().map(move |case| (file, case))).collect();
    let failures: Vec<Failure> = cases
        .par_iter()
        .filter_map(|(file, case)| {
            let reason = outcome(case).err()?;
            Some(Failure { file: file.name.clone(), id: case.id.clone(), reason })
        })
        .collect();
    Summary { passed: cases.len() - failures.len(), failed: failures.len(), failures }
}

fn outcome(case: &Case) -> std::result::Result<(), String> {
    // A case that crashes has failed; the others still count.
    let found = catch_unwind(AssertUnwindSafe(|| compute(&case.kind, Inputs(&case.inputs))));
    case.compare(&found.map_err(|_| "the computation panicked".to_owned())?)
}

/// The one list of kinds.
fn compute(kind: &str, inputs: Inputs) -> Result<Found> {
    match kind {
        "array" => arrays::summary(inputs),
        "frechet_gaussian" => frechet::gaussian(inputs),
        "frechet_features" => frechet::features(inputs),
        "moments_merge" => frechet::moments_merge(inputs),
        "frechet_standard_error" => frechet::standard_error(inputs),
        "frechet_null_bias" => frechet::null_bias(inputs),
        "fid_infinity" => frechet::fid_infinity(inputs),
        "inception_score_probs" => inception_score::probabilities(inputs),
        "inception_score_logits" => inception_score::logits(inputs),
        "kid" => kid::kid(inputs),
        "cmmd" => kid::cmmd(inputs),
        "kid_subsets" => kid::subsets(inputs),
        "kid_random_subsets" => kid::random_subsets(inputs),
        "prdc" => prdc::prdc(inputs),
        "image_error" => image::error(inputs),
        "ssim" => image::ssim(inputs),
        "ssim_channels" => image::ssim_channels(inputs),
        "psnr_aggregate" => image::psnr_aggregate(inputs),
        "quantise" => image::quantise(inputs),
        "resize" => resize::resize(inputs),
        "resize_1d" => resize::resize_1d(inputs),
        "kl_standard_normal" => losses::autoencoder::kl_standard_normal(inputs),
        "kl_reductions" => losses::autoencoder::kl_reductions(inputs),
        "kl_two_gaussians" => losses::autoencoder::kl_two_gaussians(inputs),
        "gaussian_nll" => losses::autoencoder::gaussian_nll(inputs),
        "moments_split" => losses::autoencoder::moments_split(inputs),
        "autoencoder_generator_loss" => losses::autoencoder::generator_loss(inputs),
        "gan_losses" => losses::autoencoder::gan_losses(inputs),
        "adaptive_weight" => losses::autoencoder::adaptive_weight(inputs),
        "lpips_layer" => losses::autoencoder::lpips_layer(inputs),
        "lpips_input" => losses::autoencoder::lpips_input(inputs),
        "vp_forward" => losses::diffusion::vp_forward(inputs),
        "vp_prediction" => losses::diffusion::vp_prediction(inputs),
        "min_snr_weight" => losses::diffusion::min_snr_weight(inputs),
        "min_snr_weight_schedule" => losses::diffusion::min_snr_weight_schedule(inputs),
        "flow_matching_target" => losses::diffusion::flow_matching_target(inputs),
        "flow_shift" => losses::diffusion::flow_shift(inputs),
        "flow_shift_exponential" => losses::diffusion::flow_shift_exponential(inputs),
        "logit_normal" => losses::diffusion::logit_normal(inputs),
        "edm_preconditioning" => losses::diffusion::edm_preconditioning(inputs),
        "edm2_uncertainty" => losses::diffusion::edm2_uncertainty(inputs),
        "infonce_logits" => losses::contrastive::infonce_logits(inputs),
        "infonce_features" => losses::contrastive::infonce_features(inputs),
        "siglip" => losses::contrastive::siglip(inputs),
        "clip_score" => losses::contrastive::clip_score(inputs),
        "alpha_bar" => schedules::alpha_bar(inputs),
        "timesteps" => schedules::timesteps(inputs),
        "euler_grid" => schedules::euler_grid(inputs),
        "dpm_grid" => schedules::dpm_grid(inputs),
        "sigma_grid" => schedules::sigma_grid(inputs),
        "flow_grid" => schedules::flow_grid(inputs),
        "step_coefficients" => schedules::step_coefficients(inputs),
        "ode_endpoint" => samplers::ode::endpoint(inputs),
        "ode_convergence" => samplers::ode::convergence(inputs),
        "pushforward" => samplers::ode::pushforward(inputs),
        "moments" => samplers::moments::sigma_space(inputs),
        "moments_vp" => samplers::moments::vp_space(inputs),
        "weak_convergence" => samplers::moments::weak_convergence(inputs),
        "flow_endpoint" => samplers::flow::endpoint(inputs),
        "flow_convergence" => samplers::flow::convergence(inputs),
        "guidance" => samplers::guidance(inputs),
        other => Err(unreadable("kind", "a known kind", other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_case_passes() {
        let files = embedded().unwrap();
        let summary = run(&files);
        assert_eq!(summary.failures, []);
        assert_eq!(summary.passed, 438);
    }

    /// A harness that cannot fail proves nothing.
    #[test]
    fn a_wrong_case_fails() {
        let fails = |case: &str| {
            let case: Case = serde_json::from_str(case).unwrap();
            let file = CaseFile { name: "x.json".into(), cases: vec![case] };
            run(&[file]).failed == 1
        };
        let guidance = |expected: &str| {
            format!(
                r#"{{"id": "x", "kind": "guidance", "tol": {{"abs": 1e-9, "rel": 0}}, "expected": {expected},
                    "inputs": {{"cond": [1, 3], "uncond": [0, 1], "scale": 2, "rescale_phi": 0}}}}"#
            )
        };
        assert!(!fails(&guidance(r#"{"guided": [2, 5]}"#)));
        for wrong in [
            r#"{"guided": [2, 5.1]}"#,
            r#"{"guided": [2]}"#,
            r#"{"guided": [[2, 5]]}"#,
            r#"{"guided": "nan"}"#,
            r#"{"error": true}"#,
            r#"{"unheard_of": 1}"#,
            r#"{"guided_at_least": 1}"#,
        ] {
            assert!(fails(&guidance(wrong)), "{wrong}");
        }
        assert!(fails(
            r#"{"id": "x", "kind": "?", "inputs": {}, "expected": {"a": 1}, "tol": {"abs": 0, "rel": 0}}"#
        ));
        // What cannot be read is not a refusal.
        for (kind, inputs) in [
            ("?", "{}"),
            ("clip_score", r#"{"cosines": [0.1], "rule": "?"}"#),
            ("clip_score", r#"{"rule": "clamp_each"}"#),
            ("kid", r#"{"x": {"gen": "?"}, "y": [[1], [2]]}"#),
            (
                "ode_endpoint",
                r#"{"model": {"model": "?"}, "sampler": "euler", "sigmas": [1, 0], "x_start": [1]}"#,
            ),
            (
                "ode_endpoint",
                r#"{"model": {"model": "identity"}, "sampler": "?", "sigmas": [1, 0], "x_start": [1]}"#,
            ),
        ] {
            let case = format!(
                r#"{{"id": "x", "kind": "{kind}", "inputs": {inputs}, "expected": {{"error": true}},
                    "tol": {{"abs": 0, "rel": 0}}}}"#
            );
            assert!(fails(&case), "{kind} {inputs}");
        }
    }

    /// A value outside its type's range is refused, as one outside the range of its formula.
    #[test]
    fn values_out_of_range_are_refusals() {
        let schedule = r#""schedule": {"T": 10, "schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}"#;
        let refused = |kind: &str, inputs: &str| {
            let expected = [r#"{"error": true}"#, r#"{"beta": [0]}"#];
            let outcomes = expected.map(|expected| {
                let case = format!(
                    r#"{{"id": "x", "kind": "{kind}", "inputs": {inputs}, "expected": {expected},
                        "tol": {{"abs": 0, "rel": 0}}}}"#
                );
                let file =
                    CaseFile { name: "x.json".into(), cases: vec![serde_json::from_str(&case).unwrap()] };
                run(&[file])
            });
            // It passes as a refusal, and fails where a value is expected, with the reason.
            (outcomes[0].passed, outcomes[1].failed) == (1, 1)
        };
        for t in [
            "[-1]",
            "[10]",
            "[1e99]",
            "[-1e99]",
            "[0.5]",
            "[\"one\"]",
            "[\"nan\"]",
            "[\"inf\"]",
            "[null]",
            "[true]",
            "[{}]",
            "[[1], [2, 3]]",
            "3",
            "\"all\"",
            "null",
            "[9007199254740994]",
        ] {
            let holds = refused("alpha_bar", &format!("{{{schedule}, \"t\": {t}}}"));
            assert_eq!(holds, t != "[{}]", "{t}"); // an object without a generator cannot be read
        }
        for t in ["-1", "1.5", "1e99", "\"1000\"", "[10]", "null"] {
            let inputs = schedule.replace("\"T\": 10", &format!("\"T\": {t}"));
            assert!(refused("alpha_bar", &format!("{{{inputs}, \"t\": [1]}}")), "T = {t}");
        }
        for scale in ["\"2\"", "null", "[2]", "{}"] {
            let inputs =
                format!(r#"{{"cond": [1, 3], "uncond": [0, 1], "scale": {scale}, "rescale_phi": 0}}"#);
            assert!(refused("guidance", &inputs), "scale = {scale}");
        }
        // Arrays that no memory holds.
        for array in [
            r#"{"gen": "constant", "n": 1e99, "d": 2, "value": 0}"#,
            r#"{"gen": "constant", "n": 1e15, "d": 1, "value": 0}"#,
            r#"{"gen": "constant", "n": 1e8, "d": 1e8, "value": 0}"#,
            r#"{"gen": "one_hot_counts", "counts": [1, -1]}"#,
            r#"{"gen": "one_hot_counts", "counts": [1e15]}"#,
            r#"{"gen": "splitmix_normal", "n": 2, "d": 3, "shift": 0, "col_scale": [1], "seed": 1}"#,
            r#"{"gen": "splitmix_normal", "n": 2, "d": 1, "shift": 0, "col_scale": [1], "seed": -1}"#,
        ] {
            assert!(refused("array", &format!("{{\"array\": {array}}}")), "{array}");
        }
    }
}
