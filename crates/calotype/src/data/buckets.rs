//! Aspect-ratio buckets: pictures of similar shape are trained together, so that little is cut off.
//!
//! Introduced by NovelAI's training of 2022 and used by SDXL (Podell et al. 2023, arXiv:2307.01952,
//! section 2.3 and appendix I).

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::rng::{Philox, Purpose};

/// The most steps in `base`. With a ratio of 4 there are about twice as many buckets.
const MAX_STEPS: u32 = 256;

/// The sizes that training pictures may have: multiples of a step, of about one area.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buckets {
    sizes: Vec<(u32, u32)>,
}

impl Buckets {
    /// The buckets of an area of `base` × `base` pixels: for every width the greatest height within that
    /// area, and for every height the greatest width.
    ///
    /// For 1024, 64 and 4 these are 33 of the 40 sizes of SDXL's table; the other 7 have one side that is a
    /// step smaller.
    ///
    /// - `step`: every side is a multiple of it; the VAE's factor times the U-Net's, for example 8 × 8.
    /// - `max_ratio`: the longer side over the shorter one is at most this.
    ///
    /// # Errors
    /// `Error::Argument` unless `base` is 1 to 256 times `step`, at most 65 535, and `max_ratio` a finite
    /// number of at least 1.
    pub fn new(base: u32, step: u32, max_ratio: f64) -> Result<Self> {
        if step == 0 {
            return Err(Error::argument("bucket step", "at least 1", step));
        }
        let steps = base / step;
        if !base.is_multiple_of(step) || !(1..=MAX_STEPS).contains(&steps) || base > 0xFFFF {
            let expected = format!("1 to {MAX_STEPS} times the step {step}, at most 65535");
            return Err(Error::argument("bucket base size", expected, base));
        }
        if !(max_ratio.is_finite() && max_ratio >= 1.0) {
            return Err(Error::argument("greatest aspect ratio", "a finite number of at least 1", max_ratio));
        }
        // In steps: at most 256 × 256, so nothing overflows.
        let area = steps * steps;
        let is_allowed =
            |long: u32, short: u32| long >= short && f64::from(long) <= max_ratio * f64::from(short);
        let mut sizes: Vec<(u32, u32)> = (1..=area)
            .map(|side| (side, area / side))
            .filter(|&(w, h)| is_allowed(w.max(h), w.min(h)))
            .flat_map(|(w, h)| [(w * step, h * step), (h * step, w * step)])
            .collect();
        sizes.sort_unstable_by(|&one, &other| by_ratio(one, other).then(one.cmp(&other)));
        sizes.dedup();
        Ok(Self { sizes })
    }

    /// (width, height) of every bucket, from the tallest to the widest; `base` × `base` is among them.
    pub fn all(&self) -> &[(u32, u32)] {
        &self.sizes
    }

    /// The number of the bucket whose aspect ratio is nearest to that of `size` on a logarithmic scale; of
    /// two equally near, the first.
    ///
    /// - `size`: (width, height) of an upright picture; a side of 0 counts as 1.
    pub fn of(&self, size: (u32, u32)) -> usize {
        // The first of the least, as `min_by` has it.
        let numbers = 0..self.sizes.len();
        numbers.min_by(|&i, &j| nearer(self.sizes[i], self.sizes[j], size)).unwrap_or(0)
    }
}

/// Compares w/h; the first by area where those are equal.
fn by_ratio(one: (u32, u32), other: (u32, u32)) -> Ordering {
    (u64::from(one.0) * u64::from(other.1)).cmp(&(u64::from(other.0) * u64::from(one.1)))
}

/// Compares |ln(W/H) − ln(w/h)| of two buckets in whole numbers, so that every machine agrees.
fn nearer(one: (u32, u32), other: (u32, u32), size: (u32, u32)) -> Ordering {
    // The factor between the two ratios, as a fraction of at least 1.
    let factor = |bucket: (u32, u32)| {
        let this = u128::from(bucket.0) * u128::from(size.1.max(1));
        let that = u128::from(bucket.1) * u128::from(size.0.max(1));
        (this.max(that), this.min(that))
    };
    let ((n1, d1), (n2, d2)) = (factor(one), factor(other));
    (n1 * d2).cmp(&(n2 * d1))
}

/// The batches of one epoch, each with `batch_size` pictures of one bucket.
///
/// The pictures are shuffled, dealt to their buckets in that order and cut into batches; the batches are
/// shuffled in turn, so that rare shapes do not all come last. A bucket's last batch is filled up with the
/// pictures that came first in its order, if need be several times. Thus every picture is seen at least
/// once in an epoch, and each bucket repeats fewer than `batch_size`. Everything follows from `seed` and
/// `epoch`.
///
/// - `bucket_of`: the bucket of every picture.
///
/// # Panics
/// If `batch_size` is 0.
pub fn batches(bucket_of: &[usize], batch_size: usize, seed: u64, epoch: u64) -> Vec<Vec<usize>> {
    assert!(batch_size > 0, "a batch of no pictures has no end");
    let mut rng = Philox::new(seed, Purpose::Epoch, epoch);
    let mut by_bucket: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for picture in rng.permutation(bucket_of.len()) {
        by_bucket.entry(bucket_of[picture]).or_default().push(picture);
    }
    let mut in_order = Vec::new();
    for pictures in by_bucket.values() {
        let seen = pictures.len().next_multiple_of(batch_size);
        let filled: Vec<usize> = pictures.iter().copied().cycle().take(seen).collect();
        in_order.extend(filled.chunks_exact(batch_size).map(<[usize]>::to_vec));
    }
    rng.permutation(in_order.len()).into_iter().map(|i| std::mem::take(&mut in_order[i])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_refuses;

    #[test]
    fn sizes_of_sdxl() {
        let buckets = Buckets::new(1024, 64, 4.0).unwrap();
        // Appendix I, those that cannot be one step wider; (height, width) there.
        let upright = [
            (512, 2048),
            (512, 1984),
            (512, 1920),
            (512, 1856),
            (576, 1792),
            (576, 1728),
            (576, 1664),
            (640, 1600),
            (640, 1536),
            (704, 1472),
            (704, 1408),
            (768, 1344),
            (768, 1280),
            (832, 1216),
            (896, 1152),
            (960, 1088),
        ];
        let square = std::iter::once((1024, 1024));
        let lying = upright.iter().rev().map(|&(short, long)| (long, short));
        let expected: Vec<_> = upright.iter().copied().chain(square).chain(lying).collect();
        assert_eq!(buckets.all(), expected);
    }

    #[test]
    fn every_bucket_keeps_the_rules_and_is_its_own_nearest() {
        for (base, step, max_ratio) in
            [(64, 8, 2.0), (64, 64, 9.0), (512, 64, 1.0), (1024, 8, 3.0), (96, 32, 3.0)]
        {
            let buckets = Buckets::new(base, step, max_ratio).unwrap();
            assert!(buckets.all().contains(&(base, base)) && buckets.all().len() <= 1024);
            for (i, &(w, h)) in buckets.all().iter().enumerate() {
                assert!(w % step == 0 && h % step == 0 && w * h <= base * base, "{w} x {h}");
                assert!(f64::from(w.max(h)) <= max_ratio * f64::from(w.min(h)), "{w} x {h}");
                assert!(buckets.all().contains(&(h, w)));
                let nearest = buckets.all()[buckets.of((w, h))];
                assert_eq!((nearest.0 * h, buckets.of((w, h)) <= i), (nearest.1 * w, true));
            }
        }
    }

    #[test]
    fn nearest_is_by_logarithm_and_ties_go_to_the_first() {
        let buckets = Buckets { sizes: vec![(1, 4), (1, 1), (4, 1)] };
        // Between 1 and 4 the middle of the logarithms is 2: a tie.
        assert_eq!(buckets.of((2000, 1000)), 1);
        assert_eq!(buckets.of((2001, 1000)), 2);
        assert_eq!(buckets.of((1000, 2000)), 0);
        assert_eq!(buckets.of((1000, 1999)), 1);
        assert_eq!((buckets.of((u32::MAX, 1)), buckets.of((1, u32::MAX)), buckets.of((0, 0))), (2, 0, 1));
        let float = |(w, h): (u32, u32)| (f64::from(w) / f64::from(h)).ln();
        let buckets = Buckets::new(512, 64, 4.0).unwrap();
        for size in (1..60).flat_map(|w| (1..60).map(move |h| (w * 17, h * 13))) {
            let distance = |bucket| (float(bucket) - float(size)).abs();
            let least = buckets.all().iter().map(|&bucket| distance(bucket)).fold(f64::MAX, f64::min);
            assert!(distance(buckets.all()[buckets.of(size)]) <= least + 1e-12, "{size:?}");
        }
    }

    #[test]
    fn arguments_are_checked() {
        for (base, step) in [(100, 64), (0, 64), (512, 1), (131_072, 512)] {
            assert_refuses(Buckets::new(base, step, 4.0), "bucket base size: expected 1 to");
        }
        assert_refuses(Buckets::new(64, 0, 4.0), "bucket step: expected at least 1");
        for max_ratio in [0.5, f64::NAN, f64::INFINITY] {
            assert_refuses(Buckets::new(64, 8, max_ratio), "greatest aspect ratio: expected a finite number");
        }
    }

    /// 1000 pictures in 7 buckets of very different sizes; one has a single picture.
    fn example() -> Vec<usize> {
        let mut rng = Philox::new(1, Purpose::Evaluation, 0);
        let mut bucket_of: Vec<usize> =
            (0..999).map(|_| (rng.uniform() * rng.uniform() * 6.0) as usize).collect();
        bucket_of.insert(500, 40);
        bucket_of
    }

    #[test]
    fn every_picture_appears_and_batches_hold_one_bucket() {
        let bucket_of = example();
        for batch_size in [1, 2, 7, 64] {
            let batches = batches(&bucket_of, batch_size, 3, 5);
            let mut times = vec![0; bucket_of.len()];
            for batch in &batches {
                assert_eq!(batch.len(), batch_size);
                assert!(batch.iter().all(|&i| bucket_of[i] == bucket_of[batch[0]]));
                batch.iter().for_each(|&i| times[i] += 1);
            }
            for bucket in [0, 1, 2, 3, 4, 5, 40] {
                let times: Vec<i32> =
                    times.iter().zip(&bucket_of).filter(|(_, of)| **of == bucket).map(|(t, _)| *t).collect();
                let (least, most) = (times.iter().min().unwrap(), times.iter().max().unwrap());
                assert!(*least >= 1 && most - least <= 1, "bucket {bucket}: {least} to {most} times");
                let repeated = times.iter().sum::<i32>() as usize - times.len();
                assert!(repeated < batch_size, "bucket {bucket}: {repeated} repeated");
            }
        }
        assert!(batches(&[], 4, 0, 0).is_empty());
    }

    #[test]
    fn order_follows_from_seed_and_epoch() {
        let bucket_of = example();
        let order = batches(&bucket_of, 8, 3, 5);
        assert_eq!(order, batches(&bucket_of, 8, 3, 5));
        assert_ne!(order, batches(&bucket_of, 8, 3, 6));
        assert_ne!(order, batches(&bucket_of, 8, 4, 5));
        // Buckets are mixed: neither in their order nor the small ones last.
        let buckets: Vec<usize> = order.iter().map(|batch| bucket_of[batch[0]]).collect();
        assert!(!buckets.is_sorted() && buckets.iter().rposition(|&b| b == 0) > Some(order.len() / 2));
        let first_positions: Vec<usize> = (0..20)
            .map(|epoch| batches(&bucket_of, 8, 3, epoch).iter().position(|b| b.contains(&500)).unwrap())
            .collect();
        assert!(first_positions.iter().any(|&at| at < order.len() / 2), "{first_positions:?}");
    }

    #[test]
    fn with_one_bucket_the_epoch_is_the_permutation_cut_in_batches() {
        let order = Philox::new(9, Purpose::Epoch, 2).permutation(10);
        let mut batches = batches(&[0; 10], 4, 9, 2);
        batches.sort();
        let mut expected: Vec<Vec<usize>> =
            vec![order[..4].to_vec(), order[4..8].to_vec(), [&order[8..], &order[..2]].concat()];
        expected.sort();
        assert_eq!(batches, expected);
    }
}
