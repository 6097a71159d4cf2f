//! The results as tables: Markdown for readers, CSV for programs.

use super::results::{Results, Summary, VariantResults};
use crate::report::Table;

/// A metric of the tables for readers.
struct Column {
    /// In `metrics.json`.
    metric: &'static str,
    heading: &'static str,
    /// What a value is multiplied by.
    scale: f64,
    decimals: usize,
}

const fn column(metric: &'static str, heading: &'static str, scale: f64, decimals: usize) -> Column {
    Column { metric, heading, scale, decimals }
}

/// From the autoencoder to the whole prompt.
const COLUMNS: [Column; 10] = [
    column("reconstruction_psnr", "PSNR, dB", 1.0, 2),
    column("clip_retrieval_at_1", "CLIP retrieval, %", 100.0, 1),
    column("noun_accuracy", "nouns, %", 100.0, 1),
    column("relation_accuracy", "relations, %", 100.0, 1),
    column("prompt_accuracy", "prompts, %", 100.0, 1),
    column("noun_accuracy_seen_pairs", "nouns, seen pairs, %", 100.0, 1),
    column("prompt_accuracy_seen_pairs", "prompts, seen pairs, %", 100.0, 1),
    column("heat_map_pointing", "pointing, %", 100.0, 1),
    column("fd_clip", "fd-clip", 1.0, 4),
    column("is_clip", "is-clip", 1.0, 2),
];

impl Column {
    fn cell(&self, variant: &VariantResults) -> String {
        variant.metrics.get(self.metric).map_or_else(|| "–".into(), |summary| self.text(summary))
    }

    /// `45.2 ± 1.3` over seeds, `45.2 (41.0 to 49.5)` of one.
    fn text(&self, summary: &Summary) -> String {
        let Self { scale, decimals, .. } = self;
        let mean = format!("{:.decimals$}", scale * summary.mean);
        match (summary.standard_error, summary.interval) {
            (Some(error), _) => format!("{mean} ± {:.decimals$}", scale * error),
            (None, Some([low, high])) => {
                format!("{mean} ({:.decimals$} to {:.decimals$})", scale * low, scale * high)
            }
            (None, None) => mean,
        }
    }
}

/// The base and some variants.
pub(super) fn table(results: &Results, variants: &[&VariantResults]) -> Table {
    let row = |variant: &VariantResults| {
        let cells = COLUMNS.iter().map(|column| column.cell(variant));
        std::iter::once(variant.name.clone()).chain(cells).collect()
    };
    let headings = COLUMNS.iter().map(|column| column.heading.to_owned());
    Table {
        columns: std::iter::once("variant".to_owned()).chain(headings).collect(),
        rows: results.variants.iter().take(1).chain(variants.iter().copied()).map(row).collect(),
    }
}

/// What the numbers of a table are.
pub(super) fn explanation(results: &Results) -> String {
    let intervals = match results.seeds.as_slice() {
        [seed] => format!("One seed, {seed}; in brackets the 95 % interval over prompts."),
        seeds => {
            let seeds = seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
            format!("Mean ± standard error over the seeds {seeds}.")
        }
    };
    format!(
        "{intervals} Variants of one seed have the same data, prompts and noise. fd-clip (lower is better) and is-clip \
         are measured with the base's CLIP; a dash is what could not be measured."
    )
}

/// `table.md`: a table for each group, and what could not be measured.
pub(super) fn markdown(results: &Results) -> String {
    let mut text = explanation(results) + "\n";
    for (group, variants) in results.groups() {
        if !group.is_empty() {
            text += &format!("\n### {group}\n");
        }
        let Table { columns, rows } = table(results, &variants);
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        text += &format!("\n{}|{}\n", line(&columns), "---|".repeat(columns.len()));
        text.extend(rows.iter().map(|row| line(row)));
    }
    let notes: Vec<&String> = results.variants.iter().flat_map(|variant| &variant.notes).collect();
    if !notes.is_empty() {
        text += "\n";
        text.extend(notes.iter().map(|note| format!("- {note}\n")));
    }
    text
}

/// `table.csv`: a line for each metric of each variant, with the value of each seed.
pub(super) fn csv(results: &Results) -> String {
    let seeds: String = results.seeds.iter().map(|seed| format!(",seed_{seed}")).collect();
    let mut text = format!(
        "variant,group,metric,mean,standard_error,low_95,high_95,difference,difference_standard_error{seeds}\n"
    );
    let number = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
    for variant in &results.variants {
        for (metric, summary) in &variant.metrics {
            let [low, high] = summary.interval.map_or([None, None], |[low, high]| [Some(low), Some(high)]);
            let numbers = [
                Some(summary.mean),
                summary.standard_error,
                low,
                high,
                summary.difference,
                summary.difference_standard_error,
            ];
            let numbers = numbers.into_iter().chain(summary.values.iter().copied()).map(number);
            let group = format!("\"{}\"", variant.group.replace('"', "\"\""));
            let cells = [variant.name.clone(), group, metric.clone()].into_iter().chain(numbers);
            text += &cells.collect::<Vec<_>>().join(",");
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(values: &[Option<f64>], interval: Option<[f64; 2]>) -> Summary {
        Summary::of(values.to_vec(), Some(&[Some(0.25), Some(0.5)]), interval).unwrap()
    }

    #[test]
    fn a_cell_has_the_interval_that_there_is() {
        let nouns = column("noun_accuracy", "nouns, %", 100.0, 1);
        let one = summary(&[Some(0.5)], Some([0.4, 0.6]));
        assert_eq!(nouns.text(&one), "50.0 (40.0 to 60.0)");
        assert_eq!((one.difference, one.difference_standard_error), (Some(0.25), None));
        // s = 0.1·√2, so s/√2 = 0.1; the interval of one seed means nothing for the mean.
        let two = summary(&[Some(0.4), Some(0.6)], Some([0.4, 0.6]));
        assert_eq!(nouns.text(&two), "50.0 ± 10.0");
        // 0.15 and 0.1.
        assert!((two.difference.unwrap() - 0.125).abs() < 1e-12);
        assert!((two.difference_standard_error.unwrap() - 0.025).abs() < 1e-12);
        assert_eq!(nouns.text(&summary(&[Some(0.5), None], None)), "50.0");
        assert_eq!(Summary::of(vec![None], None, None), None);
    }
}
