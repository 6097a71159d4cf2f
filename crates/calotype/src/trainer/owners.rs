//! Which rank updates which parameter, and keeps its moments and averages.
//!
//! Rajbhandari et al. 2020, "ZeRO", arXiv:1910.02054, stage 1, by whole tensors: rules such as Adafactor and Muon look at
//! a matrix as a whole.

/// The owner of each of some parameters of so many numbers: the largest first, each to the rank that has the fewest
/// numbers so far, the first of several.
pub(super) fn owners(lengths: &[usize], ranks: usize) -> Vec<usize> {
    let mut largest_first: Vec<usize> = (0..lengths.len()).collect();
    largest_first.sort_by_key(|&i| std::cmp::Reverse(lengths[i]));
    let (mut loads, mut owners) = (vec![0_usize; ranks.max(1)], vec![0; lengths.len()]);
    for i in largest_first {
        let least = (0..loads.len()).min_by_key(|&rank| loads[rank]).unwrap_or(0);
        loads[least] += lengths[i];
        owners[i] = least;
    }
    owners
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rank_has_about_as_many_numbers() {
        let lengths = [9, 100, 30, 1, 70, 40, 30];
        assert_eq!(owners(&lengths, 1), [0; 7]);
        let owners = owners(&lengths, 3);
        let load =
            |rank| lengths.iter().zip(&owners).filter(|(_, owner)| **owner == rank).map(|(n, _)| n).sum();
        let loads: [usize; 3] = [0, 1, 2].map(load);
        assert_eq!(loads.iter().sum::<usize>(), 280);
        assert!(loads.iter().all(|load| (80..=100).contains(load)), "{loads:?}");
    }
}
