//! What goes to the terminal: one JSON object or text on stdout, everything else on stderr.

use std::process::ExitCode;

use calotype::Error;
use serde::Serialize;

/// `error: …`, `hint: …`, exit 1; 2 for a value that the command line should not have had.
pub fn fail(error: &Error) -> ExitCode {
    eprintln!("error: {error}");
    if let Some(hint) = error.hint() {
        eprintln!("hint: {hint}");
    }
    match error {
        Error::Argument { .. } => ExitCode::from(2),
        _ => ExitCode::FAILURE,
    }
}

/// One JSON object on stdout.
pub fn json(value: &impl Serialize) {
    match serde_json::to_string(value) {
        Ok(text) => println!("{text}"),
        Err(error) => eprintln!("error: cannot write the result as JSON: {error}"),
    }
}
