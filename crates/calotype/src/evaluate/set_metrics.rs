//! Numbers about a set of pictures, each with what it depends on.

use serde_json::{Map, Value, json};

use super::frechet::{Gaussian, frechet_distance};
use super::frechet_uncertainty::{fid_infinity, standard_error};
use super::inception_score::{SplitRule, from_logits};
use super::kid::{Kernel, kernel_distance, kid_of_subsets};
use super::numpy_random::RandomState;
use super::prdc::{BallRule, prdc};
use super::side::Side;
use crate::error::{Error, Result};

/// What can be measured on features.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetMetric {
    /// Fréchet distance, with its standard error and bias.
    Frechet,
    /// Fréchet distance for n → ∞.
    FrechetInfinity,
    /// Inception Score.
    InceptionScore,
    /// Kernel distance over random subsets.
    Kid,
    /// Kernel distance with a Gaussian kernel.
    Cmmd,
    /// Precision, recall, density and coverage.
    Prdc,
}

/// How to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Splits of the Inception Score.
    pub splits: usize,
    /// Subsets of KID.
    pub kid_subsets: usize,
    /// Rows of a subset, at most those of the smaller side.
    pub kid_subset_size: usize,
    /// Neighbours of precision, recall, density and coverage.
    pub k: usize,
    /// Seed of shuffles and subsets.
    pub seed: u32,
}

impl Default for Settings {
    /// torch-fidelity's.
    fn default() -> Self {
        Self { splits: 10, kid_subsets: 100, kid_subset_size: 1000, k: 3, seed: 2020 }
    }
}

/// `metric` of the generated side against the reference: name and report of each number. Names end in
/// `suffix`, which is empty for FID's own Inception: only there the numbers are FID, IS and KID.
///
/// # Errors
/// `Error::Argument` for a missing side, for sides of different protocols, and for settings that the sets
/// are too small for; `Error::Shape` for features of different width.
pub fn measure(
    metric: SetMetric,
    generated: &Side,
    reference: Option<&Side>,
    settings: &Settings,
    suffix: &str,
) -> Result<Vec<(String, Value)>> {
    if metric == SetMetric::InceptionScore {
        return Ok(vec![(format!("is{suffix}"), inception_score(generated, settings)?)]);
    }
    let reference =
        reference.ok_or_else(|| Error::argument("--reference", "the other side of a distance", "none"))?;
    generated.require_same_protocol(reference)?;
    let distance =
        |name: &str| if suffix.is_empty() { format!("fid{name}") } else { format!("fd{name}{suffix}") };
    let reports = match metric {
        SetMetric::Frechet => vec![(distance(""), frechet(generated, reference)?)],
        SetMetric::FrechetInfinity => {
            vec![(distance("-infinity"), frechet_infinity(generated, reference, settings)?)]
        }
        SetMetric::Kid => vec![(format!("kid{suffix}"), kid(generated, reference, settings)?)],
        SetMetric::Cmmd => vec![("cmmd".into(), cmmd(generated, reference)?)],
        SetMetric::Prdc => neighbours(generated, reference, settings)?,
        SetMetric::InceptionScore => vec![],
    };
    Ok(reports
        .into_iter()
        .map(|(name, value)| (name, with_sides(value, generated, Some(reference))))
        .collect())
}

/// Adds the number of pictures on each side and the protocol.
fn with_sides(mut report: Value, generated: &Side, reference: Option<&Side>) -> Value {
    report["n_generated"] = json!(generated.n());
    if let Some(reference) = reference {
        report["n_reference"] = json!(reference.n());
    }
    let mut protocol = match (&generated.protocol, reference.map(|side| &side.protocol)) {
        (Value::Object(protocol), _) | (_, Some(Value::Object(protocol))) => protocol.clone(),
        _ => Map::from_iter([("extractor".to_owned(), json!("unknown"))]),
    };
    protocol.insert("calotype".into(), json!(env!("CARGO_PKG_VERSION")));
    if let Some(Value::Object(more)) = report.get_mut("protocol").map(Value::take) {
        protocol.extend(more);
    }
    report["protocol"] = Value::Object(protocol);
    report
}

fn frechet(generated: &Side, reference: &Side) -> Result<Value> {
    let (of_generated, of_reference) = (generated.gaussian()?, reference.gaussian()?);
    let distance = frechet_distance(&of_generated, &of_reference)?;
    let mut report = json!({
        "value": distance.frechet, "mean_term": distance.mean_term, "trace_sum": distance.trace_sum,
        "tr_sqrt": distance.tr_sqrt, "rank_generated": of_generated.rank(), "rank_reference": of_reference.rank(),
        "standard_error": null, "first_order_bias": null,
    });
    // The error of a distance needs every picture's part in it.
    if let (Some(x), Some(y)) = (&generated.features, &reference.features) {
        let error = standard_error(x.values(), y.values(), x.dimension())?;
        report["standard_error"] = json!(error.from_generated.hypot(error.from_reference));
        report["first_order_bias"] = json!(error.first_order_bias_generated);
    }
    Ok(report)
}

/// The distance of growing random parts of both sides, extrapolated.
fn frechet_infinity(generated: &Side, reference: &Side, settings: &Settings) -> Result<Value> {
    const PARTS: usize = 5;
    let (x, y) = (generated.rows("fid-infinity")?, reference.rows("fid-infinity")?);
    let order = RandomState::new(settings.seed).permutation(x.n());
    let full = Gaussian::from_rows(y.values(), y.dimension())?;
    let (mut counts, mut values) = (Vec::new(), Vec::new());
    for part in 1..=PARTS {
        let n = (x.n() / 2) + (x.n() - x.n() / 2) * part / PARTS;
        let rows: Vec<f64> = order[..n].iter().flat_map(|&i| x.row(i)).copied().collect();
        values.push(frechet_distance(&Gaussian::from_rows(&rows, x.dimension())?, &full)?.frechet);
        counts.push(n);
    }
    let line = fid_infinity(&counts, &values)?;
    Ok(json!({
        "value": line.intercept, "standard_error": line.intercept_stderr, "slope": line.slope,
        "n": counts, "at_n": values, "protocol": { "seed": settings.seed },
    }))
}

fn inception_score(generated: &Side, settings: &Settings) -> Result<Value> {
    let (logits, classes) = generated.logits.as_ref().ok_or_else(|| {
        Error::argument("is", "pictures and an extractor that classifies", "features without classes")
    })?;
    let n = logits.len() / classes;
    let order = RandomState::new(settings.seed).permutation(n);
    let shuffled: Vec<f32> =
        order.iter().flat_map(|&i| &logits[i * classes..][..*classes]).copied().collect();
    let score = from_logits(&shuffled, *classes, settings.splits, SplitRule::Balanced)?;
    let report = json!({
        "value": score.mean, "std": score.std,
        "standard_error": score.std_ddof1.map(|std| std / (score.n_chunks as f64).sqrt()),
        "protocol": { "splits": settings.splits, "seed": settings.seed, "classes": classes },
    });
    Ok(with_sides(report, generated, None))
}

fn kid(generated: &Side, reference: &Side, settings: &Settings) -> Result<Value> {
    let (x, y) = (generated.rows("kid")?, reference.rows("kid")?);
    let size = settings.kid_subset_size.min(x.n()).min(y.n());
    let mut random = RandomState::new(settings.seed);
    let (mut of_x, mut of_y) = (Vec::new(), Vec::new());
    for _ in 0..settings.kid_subsets {
        of_x.push(random.choice(x.n(), size));
        of_y.push(random.choice(y.n(), size));
    }
    let found = kid_of_subsets(x, y, &of_x, &of_y)?;
    Ok(json!({
        "value": found.mean, "std": found.std,
        "protocol": {
            "subsets": settings.kid_subsets, "subset_size": size, "seed": settings.seed,
            "kernel": "(x.y/d + 1)^3",
        },
    }))
}

fn cmmd(generated: &Side, reference: &Side) -> Result<Value> {
    // σ = 10 and the factor 1000 are those of Jayasumana et al. 2024, arXiv:2401.09603, Section 4.
    let distance =
        kernel_distance(generated.rows("cmmd")?, reference.rows("cmmd")?, Kernel::Gaussian { sigma: 10.0 })?;
    Ok(json!({
        "value": 1000.0 * distance.biased, "unbiased": 1000.0 * distance.unbiased,
        "protocol": { "kernel": "exp(-|x-y|^2/(2 sigma^2))", "sigma": 10.0, "scale": 1000.0 },
    }))
}

fn neighbours(generated: &Side, reference: &Side, settings: &Settings) -> Result<Vec<(String, Value)>> {
    let (x, y) = (generated.rows("prdc")?, reference.rows("prdc")?);
    let at_most = prdc(x, y, settings.k, BallRule::Le)?;
    let below = prdc(x, y, settings.k, BallRule::Lt)?;
    let report = |value: f64, below: f64| {
        json!({
            "value": value, "value_lt": below,
            "protocol": { "k": settings.k, "rule": "distance <= radius; value_lt: distance < radius" },
        })
    };
    Ok(vec![
        ("precision".into(), report(at_most.precision, below.precision)),
        ("recall".into(), report(at_most.recall, below.recall)),
        ("density".into(), report(at_most.density, below.density)),
        ("coverage".into(), report(at_most.coverage, below.coverage)),
    ])
}
