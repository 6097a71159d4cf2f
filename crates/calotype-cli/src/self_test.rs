//! `calotype self-test`: golden cases, computed and compared.

use std::path::PathBuf;

use calotype::Result;
use calotype::self_test;

use crate::message;
use crate::options::Context;

#[derive(clap::Args)]
pub struct Args {
    /// Folder with case files, *.json, in place of those that come with the program
    #[arg(long, value_name = "DIR")]
    cases: Option<PathBuf>,
}

/// Prints every case that differs; the last line is `N passed, N failed`. Whether none does.
pub fn run(args: &Args, context: &Context) -> Result<bool> {
    let files = match &args.cases {
        Some(folder) => self_test::read(folder)?,
        None => self_test::embedded()?,
    };
    let summary = self_test::run(&files);
    let mut lines: Vec<String> =
        summary.failures.iter().map(|f| format!("FAILED {} {}: {}", f.file, f.id, f.reason)).collect();
    lines.push(format!("{} passed, {} failed", summary.passed, summary.failed));
    for line in lines {
        if context.json {
            eprintln!("{line}");
        } else {
            println!("{line}");
        }
    }
    if context.json {
        message::json(&summary);
    }
    Ok(summary.failed == 0)
}
