//! A sum whose order does not depend on who has which summand.
//!
//! Floating-point addition is not associative: (a + b) + c has other bits than a + (b + c). So the order is fixed: a binary
//! tree over the numbers of the summands, in halves of a power of two, and what is left over is added from the right. Of
//! seven: ((0+1) + (2+3)) + ((4+5) + 6). Whoever has neighbours that are a whole branch may add them first, and the sum of
//! all has the same bits for any number of ranks. Up to three summands it is the sum from left to right.

use std::ops::Range;

/// A branch of the tree: the sum of some neighbours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node<T> {
    /// Number of the first summand.
    pub start: usize,
    /// How many there are.
    pub len: usize,
    /// Their sum.
    pub sum: T,
}

/// Adds summands, or whole branches, in their order.
#[derive(Debug, Clone)]
pub struct OrderedSum<T> {
    /// Branches that wait for their neighbours: at most 1 + log₂ of the summands.
    nodes: Vec<Node<T>>,
    /// Of the whole sum.
    count: usize,
}

impl<T> OrderedSum<T> {
    /// The sum of `count` summands.
    pub fn new(count: usize) -> Self {
        Self { nodes: Vec::new(), count }
    }

    /// The next summand or branch. `add(sum, other, whole)` puts `other` into `sum`, which is then `whole` or a branch.
    pub fn push(&mut self, node: Node<T>, add: &mut impl FnMut(&mut T, T, bool)) {
        self.nodes.push(node);
        while let [.., left, right] = &self.nodes[..] {
            if left.len != right.len || !left.start.is_multiple_of(2 * right.len) {
                return;
            }
            self.merge(add);
        }
    }

    /// Adds the last two.
    fn merge(&mut self, add: &mut impl FnMut(&mut T, T, bool)) {
        let Some(right) = self.nodes.pop() else { return };
        let Some(left) = self.nodes.last_mut() else { return self.nodes.push(right) };
        left.len += right.len;
        add(&mut left.sum, right.sum, left.len == self.count);
    }

    /// The branches of the summands so far.
    pub fn into_nodes(self) -> Vec<Node<T>> {
        self.nodes
    }

    /// The sum of all; none of nothing.
    pub fn total(mut self, add: &mut impl FnMut(&mut T, T, bool)) -> Option<T> {
        while self.nodes.len() > 1 {
            self.merge(add);
        }
        self.nodes.pop().map(|node| node.sum)
    }
}

/// First summand and length of each branch that the summands `own` are added to.
pub fn branches(own: Range<usize>) -> Vec<(usize, usize)> {
    let mut sum = OrderedSum::new(own.end);
    own.for_each(|start| sum.push(Node { start, len: 1, sum: () }, &mut |_, (), _| ()));
    sum.into_nodes().into_iter().map(|node| (node.start, node.len)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranks::own;

    fn add(sum: &mut f32, other: f32, _: bool) {
        *sum += other;
    }

    /// Summands of sixteen binades: their order shows.
    fn summand(i: usize) -> f32 {
        let bits = (i as u32 + 1).wrapping_mul(2_654_435_761);
        (bits as f32 / u32::MAX as f32 - 0.4) * 2f32.powi((bits % 17) as i32)
    }

    fn sum_by(ranks: usize, parts: usize) -> f32 {
        let mut whole = OrderedSum::new(parts);
        for rank in 0..ranks {
            let mut part = OrderedSum::new(parts);
            for start in own(parts, rank, ranks) {
                part.push(Node { start, len: 1, sum: summand(start) }, &mut add);
            }
            let nodes = part.into_nodes();
            let shape: Vec<_> = nodes.iter().map(|node| (node.start, node.len)).collect();
            assert_eq!(shape, branches(own(parts, rank, ranks)));
            nodes.into_iter().for_each(|node| whole.push(node, &mut add));
        }
        whole.total(&mut add).unwrap()
    }

    #[test]
    fn every_cut_of_the_parts_has_the_same_bits() {
        let mut differs_from_left_to_right = 0;
        for parts in 1..=17 {
            let alone = sum_by(1, parts);
            for ranks in 1..=parts {
                assert_eq!(sum_by(ranks, parts).to_bits(), alone.to_bits(), "{parts} parts, {ranks} ranks");
            }
            let left = (1..parts).fold(summand(0), |sum, i| sum + summand(i));
            if parts <= 3 {
                assert_eq!(left.to_bits(), alone.to_bits());
            }
            differs_from_left_to_right += usize::from(left.to_bits() != alone.to_bits());
        }
        assert!(differs_from_left_to_right > 5, "the test's numbers show no order");
    }

    #[test]
    fn says_when_the_sum_is_whole() {
        for parts in 1..=9 {
            let mut whole = 0;
            let mut add = |sum: &mut usize, other, is_whole| {
                *sum += other;
                whole += usize::from(is_whole);
            };
            let mut sum = OrderedSum::new(parts);
            (0..parts).for_each(|start| sum.push(Node { start, len: 1, sum: 1 }, &mut add));
            assert_eq!(sum.total(&mut add), Some(parts));
            assert_eq!(whole, usize::from(parts > 1), "{parts}");
        }
    }
}
