//! The golden files that hold a list of cases.

use serde::Deserialize;

/// What PyTorch's word on each case is. Files hold the versions that made them, too.
#[derive(Deserialize)]
pub struct Golden<T> {
    pub cases: Vec<T>,
}
