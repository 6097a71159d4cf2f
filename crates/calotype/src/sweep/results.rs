//! What was measured of every variant: means over seeds, and how far they may be off.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};

use super::folder::SweepFolder;
use super::plan::{Plan, PlannedRun};
use super::table;
use crate::error::Result;
use crate::files::atomic;

/// Numbers of `metrics.json` that are no metrics.
const NO_METRICS: [&str; 5] = [
    "p_value_above_chance",
    "p_value_above_unconditional",
    "heat_map_pictures",
    "heat_map_words",
    "total_seconds",
];

/// All variants, the base first.
#[derive(Debug, Clone, Serialize)]
pub struct Results {
    /// Every variant is trained with each.
    pub seeds: Vec<u64>,
    /// The base first.
    pub variants: Vec<VariantResults>,
    commit: String,
}

/// What was measured of a variant.
#[derive(Debug, Clone, Serialize)]
pub struct VariantResults {
    /// The variant.
    pub name: String,
    /// Heading of its table.
    pub group: String,
    /// Models that were measured, of one for each seed.
    pub measured: usize,
    /// By the names of `demo`'s `metrics.json`.
    pub metrics: BTreeMap<String, Summary>,
    /// What could not be measured, and why.
    pub notes: Vec<String>,
}

/// A metric over the seeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Of each seed; none where it was not measured.
    pub values: Vec<Option<f64>>,
    /// Of those that there are.
    pub mean: f64,
    /// s/√n over the seeds with the unbiased s; unknown from one.
    pub standard_error: Option<f64>,
    /// 95 % interval of a share of independent trials; only of a single seed.
    pub interval: Option<[f64; 2]>,
    /// Mean difference from the base with the same seed, which has the same data and prompts.
    pub difference: Option<f64>,
    /// Of the difference, over the seeds.
    pub difference_standard_error: Option<f64>,
}

/// Mean, and standard error where there are two values or more.
fn estimate(values: &[f64]) -> Option<(f64, Option<f64>)> {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (!values.is_empty()).then(|| (mean, (n > 1.0).then(|| (squares / (n - 1.0) / n).sqrt())))
}

impl Summary {
    /// `base`: values of the base, if this is not the base; `interval`: of a single value.
    pub(super) fn of(
        values: Vec<Option<f64>>,
        base: Option<&[Option<f64>]>,
        interval: Option<[f64; 2]>,
    ) -> Option<Self> {
        let known: Vec<f64> = values.iter().flatten().copied().collect();
        let (mean, standard_error) = estimate(&known)?;
        let pairs = values.iter().zip(base.unwrap_or_default());
        let differences: Vec<f64> = pairs.filter_map(|(own, base)| Some((*own)? - (*base)?)).collect();
        let difference = estimate(&differences);
        Some(Self {
            mean,
            standard_error,
            interval: interval.filter(|_| known.len() == 1),
            difference: difference.map(|(mean, _)| mean),
            difference_standard_error: difference.and_then(|(_, error)| error),
            values,
        })
    }
}

impl Results {
    /// Those of the models that are measured so far.
    ///
    /// # Errors
    /// `Error::Io`; `Error::Format`.
    pub(super) fn read(plan: &Plan, folder: &SweepFolder, commit: &str) -> Result<Self> {
        let names = plan.variants();
        let runs_of = |name: &str| plan.runs.iter().filter(|run| run.variant == name).collect::<Vec<_>>();
        let seeds = names.first().map_or(vec![], |base| runs_of(base));
        let seeds = seeds.iter().map(|run| run.recipe.seed).collect();
        let mut variants: Vec<VariantResults> = Vec::new();
        for name in &names {
            let runs = runs_of(name);
            let measured =
                runs.iter().map(|run| metrics_of(&folder.metrics(run))).collect::<Result<Vec<_>>>()?;
            let base = variants.first().map(|base| &base.metrics);
            variants.push(VariantResults::new(&runs, &measured, base));
        }
        Ok(Self { seeds, variants, commit: commit.into() })
    }

    /// The groups with their variants, in the order of the file.
    pub fn groups(&self) -> Vec<(&str, Vec<&VariantResults>)> {
        let mut groups: Vec<(&str, Vec<&VariantResults>)> = Vec::new();
        for variant in self.variants.iter().skip(1) {
            match groups.iter_mut().find(|(group, _)| *group == variant.group) {
                Some((_, variants)) => variants.push(variant),
                None => groups.push((&variant.group, vec![variant])),
            }
        }
        if groups.is_empty() { vec![("", vec![])] } else { groups }
    }

    /// `table.md`.
    pub fn to_markdown(&self) -> String {
        table::markdown(self)
    }
}

/// What was measured of a model, if it was.
fn metrics_of(path: &Path) -> Result<Option<Map<String, Value>>> {
    if path.is_file() { atomic::read_json(path).map(Some) } else { Ok(None) }
}

impl VariantResults {
    fn new(
        runs: &[&PlannedRun],
        measured: &[Option<Map<String, Value>>],
        base: Option<&BTreeMap<String, Summary>>,
    ) -> Self {
        let mut metrics = BTreeMap::new();
        let all = measured.iter().flatten().flat_map(|metrics| metrics.iter());
        let is_metric = |(name, value): &(&String, &Value)| {
            (value.is_number() || value.is_null()) && !NO_METRICS.contains(&name.as_str())
        };
        for (name, _) in all.filter(is_metric) {
            let value = |metrics: &Option<Map<String, Value>>| metrics.as_ref()?.get(name)?.as_f64();
            let interval = |metrics: &Map<String, Value>| {
                let ends = metrics.get("intervals_95")?.get(name)?;
                Some([ends.get(0)?.as_f64()?, ends.get(1)?.as_f64()?])
            };
            let values = measured.iter().map(value).collect();
            let of_base = base.and_then(|base| base.get(name)).map(|summary| summary.values.as_slice());
            let interval = measured.iter().flatten().find_map(interval);
            if let Some(summary) = Summary::of(values, of_base, interval) {
                metrics.insert(name.clone(), summary);
            }
        }
        let (name, group) = runs.first().map_or(("", ""), |run| (run.variant.as_str(), run.group.as_str()));
        Self {
            name: name.into(),
            group: group.into(),
            measured: measured.iter().flatten().count(),
            metrics,
            notes: runs.iter().zip(measured).flat_map(|(run, metrics)| notes(run, metrics)).collect(),
        }
    }
}

/// Reasons why something of a model was not measured.
fn notes(run: &PlannedRun, metrics: &Option<Map<String, Value>>) -> Vec<String> {
    let Some(metrics) = metrics else { return vec![format!("{}: not measured yet", run.name())] };
    if let Some(reason) = metrics.get("diverged").and_then(Value::as_str) {
        return vec![format!("{}: {}", run.name(), reason.replace('\n', " "))];
    }
    // One reason may be that of several metrics.
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (metric, reason) in metrics.get("not_measured").and_then(Value::as_object).into_iter().flatten() {
        reasons.entry(reason.as_str().unwrap_or_default()).or_default().push(metric);
    }
    reasons.iter().map(|(reason, of)| format!("{}: no {}: {reason}", run.name(), of.join(", "))).collect()
}
