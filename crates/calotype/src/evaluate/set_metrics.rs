//! Numbers about a set of pictures, each with what it depends on.

use serde_json::{Value, json};

use super::fid_infinity::fid_infinity;
use super::frechet::frechet_distance;
use super::frechet_uncertainty::standard_error;
use super::gaussian::Gaussian;
use super::inception_score::{SplitRule, from_logits};
use super::kid::{Kernel, kernel_distance, kernel_standard_error, kid_of_random_subsets};
use super::numpy_random::RandomState;
use super::prdc::{BallRule, prdc};
use super::side::Side;
use super::side_protocol::SideProtocol;
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

impl SetMetric {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Frechet => "fid",
            Self::FrechetInfinity => "fid-infinity",
            Self::InceptionScore => "is",
            Self::Kid => "kid",
            Self::Cmmd => "cmmd",
            Self::Prdc => "prdc",
        }
    }

    /// What its numbers are called; `suffix` is empty for FID's own Inception.
    pub fn numbers(self, suffix: &str) -> Vec<String> {
        let distance = if suffix.is_empty() { "fid" } else { "fd" };
        match self {
            Self::Frechet => vec![format!("{distance}{suffix}")],
            Self::FrechetInfinity => vec![format!("{distance}-infinity{suffix}")],
            Self::InceptionScore => vec![format!("is{suffix}")],
            Self::Kid => vec![format!("kid{suffix}")],
            Self::Cmmd => vec!["cmmd".into()],
            Self::Prdc => ["precision", "recall", "density", "coverage"].map(str::to_owned).to_vec(),
        }
    }

    /// Whether it needs every picture's features, not only their mean and covariance. The Fréchet distance
    /// needs them for its standard error alone.
    pub fn needs_rows(self) -> bool {
        matches!(self, Self::FrechetInfinity | Self::Kid | Self::Cmmd | Self::Prdc)
    }
}

/// How to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricSettings {
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

impl Default for MetricSettings {
    /// torch-fidelity's.
    fn default() -> Self {
        Self { splits: 10, kid_subsets: 100, kid_subset_size: 1000, k: 3, seed: 2020 }
    }
}

impl MetricSettings {
    /// Rows of KID's subsets of sides of so many rows.
    fn subset_size(&self, generated: usize, reference: usize) -> usize {
        self.kid_subset_size.min(generated).min(reference)
    }

    /// What to warn of, if KID's subsets are smaller than asked for: its spread is of another size then.
    pub fn subset_warning(&self, generated: &Side, reference: &Side) -> Option<String> {
        let (wanted, size) = (self.kid_subset_size, self.subset_size(generated.n()?, reference.n()?));
        (size < wanted)
            .then(|| format!("kid: subsets of {size} pictures, all of the smaller side, instead of {wanted}"))
    }
}

/// `metric` of the generated side against the reference: name and report of each number. Names end in
/// `suffix`, which is empty for FID's own Inception: only there the numbers are FID, IS and KID.
///
/// # Errors
/// `Error::Data` for a missing side, for sides of different protocols, and for settings that the sets
/// are too small for; `Error::Shape` for features of different width.
pub fn measure(
    metric: SetMetric,
    generated: &Side,
    reference: Option<&Side>,
    settings: &MetricSettings,
    suffix: &str,
) -> Result<Vec<(String, Value)>> {
    if metric == SetMetric::InceptionScore {
        let score = inception_score(generated, settings)?;
        return Ok(metric.numbers(suffix).into_iter().zip([score]).collect());
    }
    let reference =
        reference.ok_or_else(|| Error::data("reference", "the other side of a distance", "none"))?;
    generated.protocol.require_comparable(&reference.protocol)?;
    let reports = match metric {
        SetMetric::Frechet => vec![frechet(generated, reference)?],
        SetMetric::FrechetInfinity => vec![frechet_infinity(generated, reference, settings)?],
        SetMetric::Kid => vec![kid(generated, reference, settings)?],
        SetMetric::Cmmd => vec![cmmd(generated, reference)?],
        SetMetric::Prdc => neighbours(generated, reference, settings)?.to_vec(),
        SetMetric::InceptionScore => vec![],
    };
    let reports = reports.into_iter().map(|report| with_sides(report, generated, Some(reference)));
    Ok(metric.numbers(suffix).into_iter().zip(reports).collect())
}

/// Adds the number of pictures on each side and the protocol.
fn with_sides(mut report: Value, generated: &Side, reference: Option<&Side>) -> Value {
    report["n_generated"] = json!(generated.n());
    if let Some(reference) = reference {
        report["n_reference"] = json!(reference.n());
    }
    let mut protocol = SideProtocol::of_report(&generated.protocol, reference.map(|side| &side.protocol));
    protocol.insert("calotype".into(), json!(env!("CARGO_PKG_VERSION")));
    if let Some(Value::Object(more)) = report.get_mut("protocol").map(Value::take) {
        protocol.extend(more);
    }
    report["protocol"] = Value::Object(protocol);
    report
}

fn frechet(generated: &Side, reference: &Side) -> Result<Value> {
    // The error of a distance needs every picture's part in it.
    let (distance, [rank_generated, rank_reference], error) =
        match (generated.features(), reference.features()) {
            (Some(x), Some(y)) => {
                x.require_comparable(y)?;
                let found = standard_error(x.values(), y.values(), x.dimension())?;
                let error = found.from_generated.hypot(found.from_reference);
                (found.distance, [found.rank_generated, found.rank_reference], Some(error))
            }
            _ => {
                let (x, y) = (generated.gaussian()?, reference.gaussian()?);
                (frechet_distance(&x, &y)?, [x.rank(), y.rank()], None)
            }
        };
    let (of_generated, of_reference) =
        (distance.first_order_bias_generated, distance.first_order_bias_reference);
    Ok(json!({
        "value": distance.frechet, "mean_term": distance.mean_term, "trace_sum": distance.trace_sum,
        "tr_sqrt": distance.tr_sqrt, "rank_generated": rank_generated, "rank_reference": rank_reference,
        "standard_error": error,
        "first_order_bias": of_generated.zip(of_reference).map(|(x, y)| x + y),
        "first_order_bias_generated": of_generated, "first_order_bias_reference": of_reference,
    }))
}

/// How many growing parts FID∞ is measured on.
const PARTS: usize = 5;

/// The distance of growing random parts of the generated side from all of the reference, extrapolated.
fn frechet_infinity(generated: &Side, reference: &Side, settings: &MetricSettings) -> Result<Value> {
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
        "n": counts, "at_n": values,
        "protocol": {
            "seed": settings.seed,
            "fit": "least squares in 1/n, over nested random parts of the generated side",
            "standard_error": "of that line as if the parts were independent: too small, since each holds the last",
        },
    }))
}

fn inception_score(generated: &Side, settings: &MetricSettings) -> Result<Value> {
    let (logits, classes) = generated.logits.as_ref().ok_or_else(|| {
        Error::data("is", "pictures and an extractor that classifies", "features without classes")
    })?;
    let n = logits.len() / classes;
    let order = RandomState::new(settings.seed).permutation(n);
    let shuffled: Vec<f32> =
        order.iter().flat_map(|&i| &logits[i * classes..][..*classes]).copied().collect();
    let score = from_logits(&shuffled, *classes, settings.splits, SplitRule::Balanced)?;
    let report = json!({
        "value": score.mean, "std": score.std,
        "standard_error": score.standard_error,
        "protocol": {
            "splits": settings.splits, "split_rule": SplitRule::Balanced, "seed": settings.seed,
            "classes": classes,
        },
    });
    Ok(with_sides(report, generated, None))
}

fn kid(generated: &Side, reference: &Side, settings: &MetricSettings) -> Result<Value> {
    let (x, y) = (generated.rows("kid")?, reference.rows("kid")?);
    let size = settings.subset_size(x.n(), y.n());
    let found = kid_of_random_subsets(x, y, size, settings.kid_subsets, settings.seed)?;
    Ok(json!({
        "value": found.mean, "std": found.std, "std_ddof1": found.std_ddof1,
        "protocol": {
            "subsets": settings.kid_subsets, "subset_size": size, "seed": settings.seed,
            "kernel": "(x.y/d + 1)^3",
        },
    }))
}

fn cmmd(generated: &Side, reference: &Side) -> Result<Value> {
    // σ = 10 and the factor 1000 are those of Jayasumana et al. 2024, arXiv:2401.09603, Section 4.
    let (x, y, kernel) = (generated.rows("cmmd")?, reference.rows("cmmd")?, Kernel::Gaussian { sigma: 10.0 });
    let distance = kernel_distance(x, y, kernel)?;
    Ok(json!({
        "value": 1000.0 * distance.biased, "unbiased": 1000.0 * distance.unbiased,
        "standard_error": 1000.0 * kernel_standard_error(x, y, kernel)?,
        "protocol": { "kernel": "exp(-|x-y|^2/(2 sigma^2))", "sigma": 10.0, "scale": 1000.0 },
    }))
}

/// Precision, recall, density and coverage.
fn neighbours(generated: &Side, reference: &Side, settings: &MetricSettings) -> Result<[Value; 4]> {
    let (x, y) = (generated.rows("prdc")?, reference.rows("prdc")?);
    let at_most = prdc(x, y, settings.k, BallRule::Le)?;
    let below = prdc(x, y, settings.k, BallRule::Lt)?;
    let report = |value: f64, below: f64, error: f64| {
        json!({
            "value": value, "value_lt": below, "standard_error": error,
            "protocol": {
                "k": settings.k, "rule": "distance <= radius; value_lt: distance < radius",
                "standard_error": "of the share of points, with the balls as they are",
            },
        })
    };
    let of_share = |share: f64, n: usize| (share * (1.0 - share) / n as f64).sqrt();
    let of_density = at_most.density_std / (x.n() as f64).sqrt();
    Ok([
        report(at_most.precision, below.precision, of_share(at_most.precision, x.n())),
        report(at_most.recall, below.recall, of_share(at_most.recall, y.n())),
        report(at_most.density, below.density, of_density),
        report(at_most.coverage, below.coverage, of_share(at_most.coverage, y.n())),
    ])
}
