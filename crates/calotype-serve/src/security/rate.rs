//! How many requests an address may make: a bucket of tokens that fills at a rate.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Addresses that are remembered at most.
const MOST: usize = 4096;

/// The buckets of all addresses.
#[derive(Debug)]
pub struct Rates {
    per_second: f64,
    burst: f64,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Rates {
    /// So many in the long run, and at once.
    pub fn new(per_second: f64, burst: f64) -> Self {
        Self { per_second, burst, buckets: Mutex::default() }
    }

    /// Counts a request; the seconds to wait where there are too many.
    pub fn too_many(&self, from: IpAddr) -> Option<u32> {
        self.too_many_at(from, Instant::now())
    }

    fn too_many_at(&self, from: IpAddr, now: Instant) -> Option<u32> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let filled = |bucket: &Bucket| {
            let since = now.saturating_duration_since(bucket.at).as_secs_f64();
            (bucket.tokens + since * self.per_second).min(self.burst)
        };
        if buckets.len() >= MOST && !buckets.contains_key(&from) {
            // A full bucket says nothing that a new one would not.
            buckets.retain(|_, bucket| filled(bucket) < self.burst);
        }
        let tokens = buckets.get(&from).map_or(self.burst, filled);
        let allowed = tokens >= 1.0;
        let left = if allowed { tokens - 1.0 } else { tokens };
        if buckets.len() < MOST || buckets.contains_key(&from) {
            buckets.insert(from, Bucket { tokens: left, at: now });
        }
        (!allowed).then(|| ((1.0 - left) / self.per_second).ceil() as u32)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_bucket_empties_and_fills() {
        let rates = Rates::new(10.0, 3.0);
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let start = Instant::now();
        let answers: Vec<_> = (0..4).map(|_| rates.too_many_at(one, start)).collect();
        assert_eq!(answers, [None, None, None, Some(1)]);
        assert_eq!(rates.too_many_at(other, start), None);
        let later = start + Duration::from_millis(100);
        assert_eq!(rates.too_many_at(one, later), None);
        assert!(rates.too_many_at(one, later).is_some());
    }
}
