//! What the check before a training says.

use calotype::trainer::preflight::Findings;
use calotype::{Error, Result};

use crate::message;
use crate::options::Context;

/// Prints the report; faults are an error.
pub fn print(report: &Findings, context: &Context) -> Result<()> {
    if context.json {
        message::json(report);
    } else {
        let share = if report.trained_parameters == report.all_parameters { "all" } else { "of" };
        println!("trained parameters  {} ({share} {})", report.trained_parameters, report.all_parameters);
        println!("state in memory     {:.0} MiB", report.state_bytes as f64 / f64::from(1 << 20));
        if let Some(peak) = report.peak_bytes {
            println!("peak of the check   {:.0} MiB", peak as f64 / f64::from(1 << 20));
        }
        println!("first loss          {:.4}", report.first_loss);
        println!("seconds per step    {:.3}", report.seconds_per_step);
        println!("whole training      about {}", duration(report.seconds));
        report.warnings.iter().for_each(|warning| println!("warning: {warning}"));
        if report.faults.is_empty() {
            println!("no faults");
        }
    }
    if !report.faults.is_empty() {
        return Err(Error::Preflight { faults: report.faults.clone() });
    }
    Ok(())
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}
