//! Every error of the library: what, where, expected, got, what next.

mod cause;

use std::path::{Path, PathBuf};

pub use cause::Cause;
use serde::{Deserialize, Serialize};

/// The library's result.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong. The text says what and where, expected and got; [`Error::hint`] says what
/// to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a file operation (missing, no permission, disk full).
    #[error("cannot {action} `{path}`: {source}")]
    Io {
        /// The verb: `read`, `write`, `create`, `rename`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file was read, but it is not what its name promises (truncated, not an image, bad JSON).
    #[error("cannot read `{path}` as {format}: {reason}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What it should be: `safetensors`, `PNG or JPEG`, `JSON`.
        format: &'static str,
        /// Why it is not.
        reason: String,
        /// What this comes from, where that is known.
        cause: Option<Cause>,
    },
    /// A configuration or recipe has a key or a value that cannot be used.
    #[error("`{path}`: key `{key}`: expected {expected}, got {got}")]
    Config {
        /// The file.
        path: PathBuf,
        /// The key, dotted from the top.
        key: String,
        /// What may stand there.
        expected: String,
        /// What stands there.
        got: String,
    },
    /// A weight file does not fit the model.
    #[error("cannot load {model} weights from `{path}`\n  tensor `{tensor}`: expected {expected}, got {got}")]
    Weights {
        /// The component: `denoiser`, `autoencoder`, `text encoder`.
        model: &'static str,
        /// The weight file.
        path: PathBuf,
        /// The first tensor that does not fit.
        tensor: String,
        /// Its shape by the config, or `present`.
        expected: String,
        /// Its shape in the file, or `missing`.
        got: String,
        /// What this comes from, where that is known.
        cause: Option<Cause>,
    },
    /// Two tensors, images or lists do not fit each other.
    #[error("{what}: expected {expected}, got {got}")]
    Shape {
        /// What was being computed.
        what: String,
        /// The shape needed.
        expected: String,
        /// The shape given.
        got: String,
    },
    /// A value that the caller has chosen is outside its range.
    #[error("{name}: expected {expected}, got {got}")]
    Argument {
        /// The thing (`width`, `prompt`), as the function calls it.
        name: String,
        /// The range.
        expected: String,
        /// The value.
        got: String,
    },
    /// What the user's files hold cannot be used, or not as was asked: too few pictures for so many subsets.
    #[error("{what}: expected {expected}, got {got}")]
    Data {
        /// What was being read or computed.
        what: String,
        /// What can be used.
        expected: String,
        /// What is there.
        got: String,
    },
    /// A loss or gradient became NaN or infinite; nothing was saved after `step`.
    #[error("{what} is not finite at step {step}: got {got}")]
    NonFinite {
        /// `loss`, or the tensor whose gradient it is.
        what: String,
        /// The training step.
        step: usize,
        /// The value.
        got: String,
    },
    /// What a model computes has become NaN or infinite, in no training.
    #[error("{what}: expected finite numbers, got {got}")]
    Overflow {
        /// What was computed: `latents after step 3 of 20`, `picture`.
        what: String,
        /// The value.
        got: String,
    },
    /// A loss or gradient of a training step is NaN or infinite; nothing has changed in that step.
    #[error("{what} is not finite at step {step}: got {got}\n  batch: {}", items.join(", "))]
    Diverged {
        /// The loss, one of its terms, or the tensor whose gradient it is.
        what: String,
        /// The training step.
        step: usize,
        /// The value.
        got: String,
        /// The samples that it comes from.
        items: Vec<String>,
    },
    /// The check before a training found faults.
    #[error("the check before the first step found what would spoil the training:{}", list(faults))]
    Preflight {
        /// Each in a sentence.
        faults: Vec<String>,
    },
    /// Whoever watched a sampling has stopped it.
    #[error("stopped after step {step} of {steps}")]
    Stopped {
        /// Steps done.
        step: usize,
        /// Steps asked for.
        steps: usize,
    },
    /// The ranks of a training cannot work together: MPI cannot be loaded, they differ, or one cannot be reached.
    #[error("ranks: {reason}")]
    Ranks {
        /// What is expected, and what there is.
        reason: String,
    },
    /// Another rank of the training has failed, and so all stop.
    #[error("{message}")]
    OtherRank {
        /// Which one.
        rank: usize,
        /// Of its error.
        kind: ErrorKind,
        /// Its error.
        message: String,
        /// What to do next.
        hint: Option<String>,
    },
    /// The user pressed Ctrl-C; the run folder holds a checkpoint of `step`.
    #[error("interrupted at step {step}")]
    Interrupted {
        /// Steps completed and saved.
        step: usize,
    },
}

/// Who or what has to change before the same will do: from this a program chooses its exit code, a server its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The caller: a value that was asked for is out of its range.
    Argument,
    /// The files: what they hold cannot be used, or not for what was asked.
    Data,
    /// The system: a file is missing or forbidden, the disk is full.
    System,
    /// Nothing: somebody has stopped it.
    Interrupted,
    /// The training's or the model's numbers: they have become NaN or infinite.
    Diverged,
}

impl Error {
    /// Who or what has to change before the same will do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Argument { .. } => ErrorKind::Argument,
            Error::Format { .. }
            | Error::Config { .. }
            | Error::Weights { .. }
            | Error::Shape { .. }
            | Error::Data { .. }
            | Error::Preflight { .. } => ErrorKind::Data,
            Error::Io { .. } | Error::Ranks { .. } => ErrorKind::System,
            Error::OtherRank { kind, .. } => *kind,
            Error::NonFinite { .. } | Error::Overflow { .. } | Error::Diverged { .. } => ErrorKind::Diverged,
            Error::Stopped { .. } | Error::Interrupted { .. } => ErrorKind::Interrupted,
        }
    }

    /// The same, if it is a number that is not finite, with the step and the samples that it comes from.
    pub fn in_batch(self, step: usize, items: Vec<String>) -> Self {
        match self {
            Error::NonFinite { what, got, .. } => Error::Diverged { what, step, got, items },
            other => other,
        }
    }

    /// Wraps a system error; for `map_err(Error::io("read", path))`.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Error::Io { action, path, source }
    }

    /// A file that is not in the format it should be.
    pub fn format(path: impl AsRef<Path>, format: &'static str, reason: impl ToString) -> Self {
        Error::Format { path: path.as_ref().to_owned(), format, reason: reason.to_string(), cause: None }
    }

    /// A weight file that does not fit the model.
    pub fn weights(
        model: &'static str,
        path: impl AsRef<Path>,
        tensor: impl ToString,
        expected: impl ToString,
        got: impl ToString,
    ) -> Self {
        Error::Weights {
            model,
            path: path.as_ref().to_owned(),
            tensor: tensor.to_string(),
            expected: expected.to_string(),
            got: got.to_string(),
            cause: None,
        }
    }

    /// The same with its cause, if it is about a file and none is known yet.
    pub fn because(self, why: Cause) -> Self {
        match self {
            Error::Format { path, format, reason, cause } => {
                Error::Format { path, format, reason, cause: cause.or(Some(why)) }
            }
            Error::Weights { model, path, tensor, expected, got, cause } => {
                Error::Weights { model, path, tensor, expected, got, cause: cause.or(Some(why)) }
            }
            other => other,
        }
    }

    /// A key of a configuration whose value cannot be used.
    pub fn config(
        path: impl AsRef<Path>,
        key: impl ToString,
        expected: impl ToString,
        got: impl ToString,
    ) -> Self {
        Error::Config {
            path: path.as_ref().to_owned(),
            key: key.to_string(),
            expected: expected.to_string(),
            got: got.to_string(),
        }
    }

    /// Shapes that do not fit.
    pub fn shape(what: impl ToString, expected: impl ToString, got: impl ToString) -> Self {
        Error::Shape { what: what.to_string(), expected: expected.to_string(), got: got.to_string() }
    }

    /// A value outside its range.
    pub fn argument(name: impl ToString, expected: impl ToString, got: impl ToString) -> Self {
        Error::Argument { name: name.to_string(), expected: expected.to_string(), got: got.to_string() }
    }

    /// Data that cannot be used.
    pub fn data(what: impl ToString, expected: impl ToString, got: impl ToString) -> Self {
        Error::Data { what: what.to_string(), expected: expected.to_string(), got: got.to_string() }
    }

    /// What the user can do next, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Io { source, path, .. } => match source.kind() {
                std::io::ErrorKind::NotFound => {
                    Some(format!("does `{}` exist? paths are relative to the current folder", path.display()))
                }
                std::io::ErrorKind::StorageFull => {
                    Some("free some space and resume; what was complete before is intact".into())
                }
                std::io::ErrorKind::PermissionDenied => Some("choose another folder".into()),
                _ => None,
            },
            Error::Format { cause, .. } | Error::Weights { cause, .. } => {
                cause.map(|cause| cause.hint().to_owned())
            }
            Error::NonFinite { .. } => Some(
                "lower `learning_rate` in the recipe; the last checkpoint is from before this step".into(),
            ),
            Error::Overflow { .. } => Some(
                "a setting may be too large for the model, such as its guidance; where no setting helps, its weights \
                 are at fault: take another checkpoint"
                    .into(),
            ),
            Error::Diverged { .. } => Some(
                "look at these pictures, or lower `learning_rate`; the last checkpoint is from before this step".into(),
            ),
            Error::Interrupted { .. } => Some("resume the run to go on".into()),
            Error::OtherRank { hint, .. } => hint.clone(),
            _ => None,
        }
    }
}

fn list(lines: &[String]) -> String {
    lines.iter().map(|line| format!("\n  - {line}")).collect()
}
