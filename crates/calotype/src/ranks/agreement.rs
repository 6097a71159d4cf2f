//! Votes: before all ranks go on, or stop, each hears of all others.
//!
//! A rank that fails and says nothing would leave the others waiting for ever. So results that only one rank has are agreed
//! upon before the next exchange, and all stop after the same step with the same message.

use serde_json::{Value, json};

use super::{Ranks, gather, gather_texts, is_root, text_of_root};
use crate::difference::difference;
use crate::error::{Error, ErrorKind, Result};

/// What a rank says of its result.
const WELL: u8 = 0;
const SAYS_SO: u8 = 1;
const FAILED: u8 = 2;

/// The own result if all ranks are well; else the first error in the order of the ranks, for all.
///
/// # Errors
/// That one: as it is where rank 0 has it or there is no other rank, else [`Error::OtherRank`].
pub fn agree<T>(ranks: &dyn Ranks, own: Result<T>) -> Result<T> {
    vote(ranks, own, |_| false).map(|(own, _)| own)
}

/// Whether any rank says so.
///
/// # Errors
/// As [`Ranks::all_gather`].
pub fn any(ranks: &dyn Ranks, own: bool) -> Result<bool> {
    vote(ranks, Ok(own), |&own| own).map(|(_, any)| any)
}

/// [`agree`], and in the same exchange [`any`] of what `says` makes of the own result.
///
/// # Errors
/// As [`agree`].
pub fn vote<T>(ranks: &dyn Ranks, own: Result<T>, says: impl FnOnce(&T) -> bool) -> Result<(T, bool)> {
    let vote = match &own {
        Err(_) => FAILED,
        Ok(own) if says(own) => SAYS_SO,
        Ok(_) => WELL,
    };
    if ranks.count() == 1 {
        return own.map(|own| (own, vote == SAYS_SO));
    }
    let votes = gather(ranks, &[vote], &vec![1; ranks.count()])?;
    let Some(first) = votes.iter().position(|&vote| vote == FAILED) else {
        return own.map(|own| (own, votes.contains(&SAYS_SO)));
    };
    let said = match &own {
        Ok(_) => String::new(),
        Err(error) => {
            json!({ "kind": error.kind(), "message": error.to_string(), "hint": error.hint() }).to_string()
        }
    };
    let said = gather_texts(ranks, &said)?.swap_remove(first);
    match own {
        Err(error) if first == 0 && is_root(ranks) => Err(error),
        _ => Err(other_rank(first, &said)),
    }
}

fn other_rank(rank: usize, said: &str) -> Error {
    let said: Value = serde_json::from_str(said).unwrap_or_default();
    let text = |key: &str| said[key].as_str().map(str::to_owned);
    Error::OtherRank {
        rank,
        kind: serde_json::from_value(said["kind"].clone()).unwrap_or(ErrorKind::System),
        message: text("message").unwrap_or_default(),
        hint: text("hint"),
    }
}

/// Refuses ranks that differ in something that decides the weights: `what` is an object of it.
///
/// # Errors
/// `Error::Ranks` naming the first rank that differs from rank 0, the key and both values.
pub fn require_same(ranks: &dyn Ranks, what: &Value) -> Result<()> {
    let expected: Value = serde_json::from_str(&text_of_root(ranks, what.to_string())?).unwrap_or_default();
    if expected == *what {
        return agree(ranks, Ok(()));
    }
    let (key, expected, got) = difference(&expected, what);
    let (rank, key) = (ranks.rank(), key.trim_start_matches('.'));
    let reason = format!("rank {rank} has another `{key}`: expected {expected}, as rank 0, got {got}");
    agree(ranks, Err(Error::Ranks { reason }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranks::Alone;

    #[test]
    fn alone_an_error_is_ones_own() {
        let error = agree::<()>(&Alone, Err(Error::argument("width", "8", 7))).unwrap_err();
        assert!(matches!(error, Error::Argument { .. }));
        assert!(any(&Alone, true).unwrap() && !any(&Alone, false).unwrap());
        require_same(&Alone, &json!({ "commit": "abc" })).unwrap();
    }
}
