//! A metric that was measured, or the reason why it could not be: a short training is no error.

use crate::error::{ErrorKind, Result};

/// What was measured, or why it could not be, in a sentence.
pub type Measure<T> = std::result::Result<T, String>;

/// Takes what a metric refuses as the reason why it is missing.
///
/// # Errors
/// Where the work was interrupted, or the system refused a file.
pub(super) fn measure<T>(result: Result<T>) -> Result<Measure<T>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error) => match error.kind() {
            ErrorKind::Interrupted | ErrorKind::System => Err(error),
            ErrorKind::Argument | ErrorKind::Data | ErrorKind::Diverged => Ok(Err(error.to_string())),
        },
    }
}

/// The value as `show` writes it, or that there is none and why.
pub(super) fn shown<T>(measured: &Measure<T>, show: impl FnOnce(&T) -> String) -> String {
    match measured {
        Ok(value) => show(value),
        Err(reason) => format!("not measured: {reason}"),
    }
}

/// A part of what was measured.
pub(super) fn part<T, U>(measured: &Measure<T>, of: impl FnOnce(&T) -> U) -> Measure<U> {
    measured.as_ref().map(of).map_err(String::clone)
}
