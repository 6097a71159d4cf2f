//! What goes to the terminal: one JSON object or text on stdout, everything else on stderr.

use std::io::ErrorKind::{PermissionDenied, StorageFull};

use calotype::Error;
use clap::{Command, CommandFactory};
use serde::Serialize;

use crate::Cli;
use crate::options::Context;

/// `error: …` and `hint: …` on stderr.
pub fn error(error: Error, command: Command) {
    let options = options(command);
    let error = with_option(error, &options);
    eprintln!("error: {error}");
    if let Some(hint) = hint(&error, &options) {
        eprintln!("hint: {hint}");
    }
}

/// What to do next: where that is an option, by its name, otherwise as the library says.
fn hint(error: &Error, options: &[String]) -> Option<String> {
    let has = |option: &str| options.iter().any(|known| known == option);
    let by_option = match error {
        Error::Io { source, .. } if source.kind() == StorageFull && has("resume") => {
            "free some space and run again with --resume; what was complete before is intact"
        }
        Error::Io { source, .. } if source.kind() == PermissionDenied => {
            "choose another folder with --out or --run"
        }
        Error::Preflight { .. } if has("no-check") => "--no-check trains nevertheless",
        Error::Interrupted { .. } if has("resume") => "run the same command with --resume to go on",
        Error::Interrupted { .. } => "run the same command again to go on",
        _ => return error.hint(),
    };
    Some(by_option.into())
}

/// The library names the thing (`strength`); where the verb has an option of that name, its users know it as
/// `--strength`. In what is expected, the library puts such names in backticks.
fn with_option(error: Error, options: &[String]) -> Error {
    let option = |name: String| match name.replace([' ', '_'], "-") {
        option if options.contains(&option) => format!("--{option}"),
        _ => name,
    };
    match error {
        Error::Argument { name, expected, got } => {
            Error::Argument { name: option(name), expected: options_in(&expected, options), got }
        }
        Error::Data { what, expected, got } => {
            Error::Data { what: option(what), expected: options_in(&expected, options), got }
        }
        // Names of one word may be anything in a file: keys, columns.
        Error::Format { path, format, reason, cause } => {
            let compound: Vec<&String> = options.iter().filter(|option| option.contains('-')).collect();
            let reason = compound
                .iter()
                .fold(reason, |text, option| text.replace(&format!("`{option}`"), &format!("--{option}")));
            Error::Format { path, format, reason, cause }
        }
        other => other,
    }
}

/// Each warning of the library in a line on stderr, with the verb's options by their names.
pub fn warnings(warnings: &[String], context: &Context) {
    let options = options(Cli::command());
    for warning in warnings {
        context.bars.say(&format!("warning: {}", options_in(warning, &options)));
    }
}

/// Names in backticks that are options, as options.
fn options_in(text: &str, options: &[String]) -> String {
    options
        .iter()
        .fold(text.to_owned(), |text, option| text.replace(&format!("`{option}`"), &format!("--{option}")))
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
