//! The shuffles of numpy's `RandomState`, which torch-fidelity draws splits and subsets with.
//!
//! Its numbers are repeated only in its order.

use crate::rng::mt19937::Mt19937;

/// `numpy.random.RandomState`.
#[derive(Debug, Clone)]
pub struct RandomState(Mt19937);

impl RandomState {
    /// `numpy.random.RandomState(seed)`.
    pub fn new(seed: u32) -> Self {
        Self(Mt19937::new(seed))
    }

    /// 0 to `most`, by drawing until the bits that are needed fit.
    fn up_to(&mut self, most: u32) -> u32 {
        let mask = u32::MAX.checked_shr(most.leading_zeros()).unwrap_or(0);
        loop {
            let value = self.0.next_u32() & mask;
            if value <= most {
                return value;
            }
        }
    }

    /// `permutation(n)`: Fisher and Yates from the end.
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.up_to(i as u32) as usize);
        }
        order
    }

    /// `choice(n, size, replace=False)`: the first of a permutation.
    pub fn choice(&mut self, n: usize, size: usize) -> Vec<usize> {
        let mut order = self.permutation(n);
        order.truncate(size);
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `randint(0, 2**32, dtype=uint32)`, `permutation` and `choice` of numpy 2.4.6.
    #[test]
    fn equals_numpy() {
        let mut random = RandomState::new(5489);
        assert_eq!([0; 3].map(|_| random.0.next_u32()), [3_499_211_612, 581_869_302, 3_890_346_734]);
        let mut random = RandomState::new(2020);
        assert_eq!(random.permutation(10), [2, 4, 9, 1, 5, 7, 6, 3, 8, 0]);
        assert_eq!(random.choice(7, 3), [4, 3, 1]);
    }
}
