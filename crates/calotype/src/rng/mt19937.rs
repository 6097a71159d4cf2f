//! The Mersenne Twister, the engine of PyTorch's generator on the CPU and of numpy's `RandomState`.

const WORDS: usize = 624;
const SHIFT: usize = 397;

/// MT19937, seeded with one word. Matsumoto and Nishimura 1998, "Mersenne Twister: a 623-dimensionally
/// equidistributed uniform pseudo-random number generator".
#[derive(Debug, Clone)]
pub struct Mt19937 {
    state: [u32; WORDS],
    used: usize,
}

impl Mt19937 {
    /// The generator after `init_genrand(seed)`.
    pub fn new(seed: u32) -> Self {
        let mut state = [seed; WORDS];
        for i in 1..WORDS {
            let previous = state[i - 1];
            state[i] = 1_812_433_253_u32.wrapping_mul(previous ^ (previous >> 30)).wrapping_add(i as u32);
        }
        Self { state, used: WORDS }
    }

    /// 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == WORDS {
            self.advance();
        }
        let mut y = self.state[self.used];
        self.used += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9D2C_5680;
        y ^= (y << 15) & 0xEFC6_0000;
        y ^ (y >> 18)
    }

    /// The next 624 words of the recurrence.
    fn advance(&mut self) {
        for i in 0..WORDS {
            let next = self.state[(i + 1) % WORDS];
            let mixed = (self.state[i] & 0x8000_0000) | (next & 0x7FFF_FFFF);
            let twisted = (mixed >> 1) ^ if next & 1 == 1 { 0x9908_B0DF } else { 0 };
            self.state[i] = self.state[(i + SHIFT) % WORDS] ^ twisted;
        }
        self.used = 0;
    }
}
