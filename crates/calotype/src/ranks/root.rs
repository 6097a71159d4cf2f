//! Work that rank 0 does while the others wait: validation, checkpoints, the check before the first step.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use super::agreement::agree;
use super::{Ranks, is_root};
use crate::error::Result;

/// How often rank 0 says that it is still at work: a long validation is no hang.
const BEAT: Duration = Duration::from_millis(250);

/// What rank 0 says.
const AT_WORK: u8 = 1;
const DONE: u8 = 0;

/// Does `work` on rank 0; what comes of it there, nothing on the others, which go on when it is done.
///
/// # Errors
/// Those of `work`, on all ranks; as [`agree`].
pub fn at_root<T>(ranks: &dyn Ranks, work: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
    if ranks.count() == 1 {
        return work().map(Some);
    }
    if !is_root(ranks) {
        while ranks.broadcast(vec![DONE])? == [AT_WORK] {}
        return agree(ranks, Ok(None));
    }
    let done = std::thread::scope(|scope| {
        let (end, ended) = channel::<()>();
        scope.spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(BEAT) {
                // Ranks that cannot be reached are an error of the next exchange.
                let _ = ranks.broadcast(vec![AT_WORK]);
            }
        });
        let done = work();
        drop(end);
        done
    });
    ranks.broadcast(vec![DONE])?;
    agree(ranks, done.map(Some))
}
