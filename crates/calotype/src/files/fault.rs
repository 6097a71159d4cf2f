//! Why a file of tensors cannot be read, before the file has a name.

use std::fmt;
use std::path::Path;

use crate::error::{Cause, Error};

/// What is wrong, and what it comes from, where that is known.
#[derive(Debug)]
pub(super) struct Fault {
    pub reason: String,
    pub cause: Option<Cause>,
}

impl Fault {
    /// The bytes end before what they describe does.
    pub(super) fn cut_off(what: impl fmt::Display) -> Self {
        Self { reason: format!("it ends in the middle of {what}"), cause: Some(Cause::CutOff) }
    }

    /// Its parts contradict each other.
    pub(super) fn damaged(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), cause: Some(Cause::Damaged) }
    }

    /// It has something that is not read here.
    pub(super) fn unread(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), cause: None }
    }

    /// That `path` is no file of this format.
    pub(super) fn error(self, path: &Path, format: &'static str) -> Error {
        let error = Error::format(path, format, self.reason);
        match self.cause {
            Some(cause) => error.because(cause),
            None => error,
        }
    }
}

pub(super) type Result<T> = std::result::Result<T, Fault>;
