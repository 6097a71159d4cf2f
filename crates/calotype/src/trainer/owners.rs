//! Which rank updates which parameter, and keeps its moments and averages.
//!
//! Rajbhandari et al. 2020, "ZeRO", arXiv:1910.02054, stage 1, by whole tensors: rules such as Adafactor and Muon look at
//! a matrix as a whole.

/// The owner of each of some parameters whose updates are so much `work`: the most first, each to the rank that has the
/// least so far, the first of several.
pub(super) fn owners(work: &[usize], ranks: usize) -> Vec<usize> {
    let mut largest_first: Vec<usize> = (0..work.len()).collect();
    largest_first.sort_by_key(|&i| std::cmp::Reverse(work[i]));
    let (mut loads, mut owners) = (vec![0_usize; ranks.max(1)], vec![0; work.len()]);
    for i in largest_first {
        let least = (0..loads.len()).min_by_key(|&rank| loads[rank]).unwrap_or(0);
        loads[least] += work[i];
        owners[i] = least;
    }
    owners
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rank_has_about_as_much_work() {
        let work = [9, 100, 30, 1, 70, 40, 30];
        assert_eq!(owners(&work, 1), [0; 7]);
        let owners = owners(&work, 3);
        let load = |rank| work.iter().zip(&owners).filter(|(_, owner)| **owner == rank).map(|(n, _)| n).sum();
        let loads: [usize; 3] = [0, 1, 2].map(load);
        assert_eq!(loads.iter().sum::<usize>(), 280);
        assert!(loads.iter().all(|load| (80..=100).contains(load)), "{loads:?}");
    }
}
