//! The shuffles of numpy's `RandomState`, which torch-fidelity draws splits and subsets with: its numbers
//! are repeated only in its order.

/// Matsumoto and Nishimura 1998, "Mersenne Twister", MT19937, seeded with one number.
#[derive(Debug, Clone)]
pub struct RandomState {
    state: [u32; N],
    next: usize,
}

const N: usize = 624;
const M: usize = 397;

impl RandomState {
    /// `numpy.random.RandomState(seed)`.
    pub fn new(seed: u32) -> Self {
        let mut state = [seed; N];
        for i in 1..N {
            let before = state[i - 1];
            state[i] = 1_812_433_253_u32.wrapping_mul(before ^ (before >> 30)).wrapping_add(i as u32);
        }
        Self { state, next: N }
    }

    /// 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.next == N {
            for i in 0..N {
                let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7fff_ffff);
                let twist = if y & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[i] = self.state[(i + M) % N] ^ (y >> 1) ^ twist;
            }
            self.next = 0;
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// 0 to `most`, by drawing until the bits that are needed fit.
    fn up_to(&mut self, most: u32) -> u32 {
        let mask = u32::MAX.checked_shr(most.leading_zeros()).unwrap_or(0);
        loop {
            let value = self.next_u32() & mask;
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
        assert_eq!([0; 3].map(|_| random.next_u32()), [3_499_211_612, 581_869_302, 3_890_346_734]);
        let mut random = RandomState::new(2020);
        assert_eq!(random.permutation(10), [2, 4, 9, 1, 5, 7, 6, 3, 8, 0]);
        assert_eq!(random.choice(7, 3), [4, 3, 1]);
    }
}
