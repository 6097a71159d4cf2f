//! What goes to the terminal: one JSON object or text on stdout, everything else on stderr.

use std::process::ExitCode;

use calotype::Error;
use clap::Command;
use serde::Serialize;

/// `error: …`, `hint: …`, exit 1; 2 for a value that the command line should not have had.
pub fn fail(error: Error, command: Command) -> ExitCode {
    let error = with_option(error, &options(command));
    eprintln!("error: {error}");
    if let Some(hint) = error.hint() {
        eprintln!("hint: {hint}");
    }
    match error {
        Error::Argument { .. } => ExitCode::from(2),
        _ => ExitCode::FAILURE,
    }
}

/// The library names the thing (`strength`); where the verb has an option of that name, its users know it as
/// `--strength`. In what is expected, the library puts such names in backticks.
fn with_option(error: Error, options: &[String]) -> Error {
    let option = |name: String| match name.replace('_', "-") {
        option if options.contains(&option) => format!("--{option}"),
        _ => name,
    };
    let options_in = |text: String| {
        options.iter().fold(text, |text, option| text.replace(&format!("`{option}`"), &format!("--{option}")))
    };
    match error {
        Error::Argument { name, expected, got } => {
            Error::Argument { name: option(name), expected: options_in(expected), got }
        }
        Error::Data { what, expected, got } => {
            Error::Data { what: option(what), expected: options_in(expected), got }
        }
        other => other,
    }
}

/// The long options of the verb that was called.
fn options(command: Command) -> Vec<String> {
    let matches = command.clone().ignore_errors(true).get_matches();
    let (mut command, mut matches) = (&command, &matches);
    let mut options = Vec::new();
    loop {
        options.extend(command.get_arguments().filter_map(|argument| argument.get_long()).map(str::to_owned));
        let Some((name, inside)) = matches.subcommand() else { return options };
        let Some(verb) = command.find_subcommand(name) else { return options };
        (command, matches) = (verb, inside);
    }
}

/// One JSON object on stdout.
pub fn json(value: &impl Serialize) {
    match serde_json::to_string(value) {
        Ok(text) => println!("{text}"),
        Err(error) => eprintln!("error: cannot write the result as JSON: {error}"),
    }
}
