//! Which pictures are for training and which for validation.

use crate::rng::{Philox, Purpose};

/// Divides `count` pictures: (for training, for validation). The share `validation` is chosen by a permutation that
/// depends on the number of pictures alone; at least one picture stays on each side if there are two.
pub fn divide(count: u64, validation: f64) -> (Vec<u64>, Vec<u64>) {
    let wanted = (count as f64 * validation).round() as usize;
    let most = (count as usize).saturating_sub(1);
    let held_out = if validation > 0.0 { wanted.max(1).min(most) } else { 0 };
    let order = Philox::new(SPLIT_SEED, Purpose::Split, count).permutation(count as usize);
    let side = |places: &[usize]| {
        let mut side: Vec<u64> = places.iter().map(|&i| i as u64).collect();
        side.sort_unstable();
        side
    };
    (side(&order[held_out..]), side(&order[..held_out]))
}

/// The division is the same whatever the seed of the run, so that runs compare.
const SPLIT_SEED: u64 = 1841;

#[cfg(test)]
mod tests {
    use super::divide;

    #[test]
    fn every_picture_is_on_one_side() {
        for (count, share, held_out) in
            [(1, 0.5, 0), (2, 0.01, 1), (100, 0.02, 2), (100, 0.0, 0), (7, 0.99, 6)]
        {
            let (training, validation) = divide(count, share);
            assert_eq!(validation.len(), held_out, "{count} {share}");
            let mut all = [training, validation].concat();
            all.sort_unstable();
            assert_eq!(all, (0..count).collect::<Vec<_>>());
        }
        assert_eq!(divide(1000, 0.1), divide(1000, 0.1));
    }
}
