//! Pictures that are there more than once: as the same file, or looking the same.
//!
//! Looks are compared by difference hashes (N. Krawetz, "Kind of Like That", 2013): the picture is reduced to
//! 9 x 8 means of brightness, and each of 64 bits says whether a mean is brighter than its left neighbour.
//! Scaling, recompression and changes of brightness or contrast turn few bits. What is alike by this hash
//! must be alike by that of the 8 x 9 means, with the neighbours above, too: among 2000 pictures of
//! Caltech 101 the first hash alone gave 15 groups, several of them different things before plain
//! backgrounds; both together gave 9, of which 8 are right.

use std::collections::{BTreeMap, HashMap};

use image::RgbImage;

/// Bits of the first hash that may differ between two pictures that look the same.
const MAX_DISTANCE: u32 = 4;
/// Of the second. Among those 2000 pictures, recompressed, retouched and slightly changed ones had up to 5;
/// different things 8 to 17, but for one pair of motorcycles.
const MAX_SECOND_DISTANCE: u32 = 6;

/// What a picture looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Fingerprint {
    /// Brighter than to the left, row by row.
    pub(super) first: u64,
    /// Brighter than above, row by row.
    pub(super) second: u64,
}

impl Fingerprint {
    /// The difference hashes, exact in integers.
    pub(super) fn of(picture: &RgbImage) -> Self {
        let wide = means(picture, 9, 8);
        let high = means(picture, 8, 9);
        let left = (0..64).map(|i| (i / 8 * 9 + i % 8, i / 8 * 9 + i % 8 + 1));
        let above = (0..64).map(|i| (i, i + 8));
        Self {
            first: bits(left.map(|(one, next)| wide[next] > wide[one])),
            second: bits(above.map(|(one, next)| high[next] > high[one])),
        }
    }

    fn is_near(self, other: Self) -> bool {
        (self.first ^ other.first).count_ones() <= MAX_DISTANCE
            && (self.second ^ other.second).count_ones() <= MAX_SECOND_DISTANCE
    }
}

fn bits(bits: impl Iterator<Item = bool>) -> u64 {
    bits.fold(0, |all, bit| all << 1 | u64::from(bit))
}

/// Mean brightness of `columns` x `rows` cells, row by row, times a number that is the same for all cells.
/// Pixels that lie in several cells count in each by their share.
fn means(picture: &RgbImage, columns: usize, rows: usize) -> Vec<u64> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let (across, down) = (Cell::along(width, columns), Cell::along(height, rows));
    let mut means = vec![0; columns * rows];
    let lines = picture.as_raw().chunks_exact(3 * width).map(|line| line.as_chunks::<3>().0);
    for (y, line) in lines.enumerate() {
        let line: Vec<u64> = line.iter().map(luma).collect();
        let line: Vec<u64> = across.iter().map(|cell| cell.sum(&line)).collect();
        for (means, cell) in means.chunks_exact_mut(columns).zip(&down) {
            if let Some(share) = y.checked_sub(cell.begin).and_then(|y| cell.shares.get(y)) {
                means.iter_mut().zip(&line).for_each(|(mean, sum)| *mean += share * sum);
            }
        }
    }
    means
}

/// 1000 times Rec. 601's luma.
fn luma(pixel: &[u8; 3]) -> u64 {
    let [r, g, b] = pixel.map(u64::from);
    299 * r + 587 * g + 114 * b
}

/// A part of a side: pixels from `begin` on, each with its share in it.
struct Cell {
    begin: usize,
    shares: Vec<u64>,
}

impl Cell {
    /// `count` equal cells of `side` pixels. In units of 1/`count` of a pixel, cell i reaches from i·`side`
    /// to (i + 1)·`side`, and pixel x from x·`count` to (x + 1)·`count`: all shares are integers.
    fn along(side: usize, count: usize) -> Vec<Self> {
        let cell = |i: usize| {
            let (from, to) = (i * side, (i + 1) * side);
            let share = |x: usize| (to.min((x + 1) * count) - from.max(x * count)) as u64;
            let pixels = from / count..to.div_ceil(count);
            Self { begin: pixels.start, shares: pixels.map(share).collect() }
        };
        (0..count).map(cell).collect()
    }

    fn sum(&self, line: &[u64]) -> u64 {
        self.shares.iter().zip(&line[self.begin..]).map(|(share, value)| share * value).sum()
    }
}

/// Groups of pictures by number; groups, and the numbers in them, ascend.
pub(super) struct Groups {
    /// Of equal files.
    pub(super) equal: Vec<Vec<usize>>,
    /// Of different files that look the same, each file by its first picture.
    pub(super) near: Vec<Vec<usize>>,
}

impl Groups {
    /// Of pictures with the given SHA-256 and looks.
    pub(super) fn of(files: &[[u8; 32]], looks: &[Fingerprint]) -> Self {
        let mut by_file: HashMap<&[u8; 32], Vec<usize>> = HashMap::new();
        for (i, file) in files.iter().enumerate() {
            by_file.entry(file).or_default().push(i);
        }
        let mut firsts: Vec<usize> = by_file.values().map(|group| group[0]).collect();
        firsts.sort_unstable();
        let mut equal: Vec<Vec<usize>> = by_file.into_values().filter(|group| group.len() > 1).collect();
        equal.sort_unstable();
        Self { equal, near: near(&firsts, looks) }
    }
}

/// Groups of the pictures `some` in which each is near another of the group.
fn near(some: &[usize], looks: &[Fingerprint]) -> Vec<Vec<usize>> {
    // Many pictures may look exactly the same: from here on, they are one.
    let mut by_look: BTreeMap<Fingerprint, Vec<usize>> = BTreeMap::new();
    for &i in some {
        by_look.entry(looks[i]).or_default().push(i);
    }
    let distinct: Vec<Fingerprint> = by_look.keys().copied().collect();
    let mut sets = DisjointSets::new(distinct.len());
    for_each_near_pair(&distinct, |one, other| sets.unite(one, other));
    let mut groups: HashMap<usize, Vec<usize>> = HashMap::new();
    for (i, pictures) in by_look.into_values().enumerate() {
        groups.entry(sets.root(i)).or_default().extend(pictures);
    }
    let mut groups: Vec<Vec<usize>> = groups.into_values().filter(|group| group.len() > 1).collect();
    groups.iter_mut().for_each(|group| group.sort_unstable());
    groups.sort_unstable();
    groups
}

/// Calls `found` at least once for each pair of `looks` that are near.
///
/// The bits of the first hash are dealt to 6 blocks. 4 bits that differ spoil at most 4 of them, so that two
/// blocks, some 21 bits, are equal: only looks that are equal in one of the 15 pairs of blocks are compared.
/// (Manku, Jain and Das Sarma, "Detecting near-duplicates for web crawling", 2007.)
fn for_each_near_pair(looks: &[Fingerprint], mut found: impl FnMut(usize, usize)) {
    const BLOCKS: u32 = MAX_DISTANCE + 2;
    // Every sixth bit: neighbouring bits of a picture with a plain background are alike in all pictures.
    let block = |b: u32| (0..64).filter(|bit| bit % BLOCKS == b).fold(0u64, |mask, bit| mask | 1 << bit);
    let mut order: Vec<usize> = (0..looks.len()).collect();
    for (first, second) in (0..BLOCKS).flat_map(|first| (0..first).map(move |second| (first, second))) {
        let mask = block(first) | block(second);
        let key = |&i: &usize| looks[i].first & mask;
        order.sort_unstable_by_key(key);
        for alike in order.chunk_by(|one, other| key(one) == key(other)) {
            for (position, &one) in alike.iter().enumerate() {
                for &other in &alike[..position] {
                    if looks[one].is_near(looks[other]) {
                        found(one, other);
                    }
                }
            }
        }
    }
}

/// Union-find: which numbers belong together.
struct DisjointSets(Vec<usize>);

impl DisjointSets {
    fn new(count: usize) -> Self {
        Self((0..count).collect())
    }

    fn root(&mut self, mut i: usize) -> usize {
        while self.0[i] != i {
            self.0[i] = self.0[self.0[i]];
            i = self.0[i];
        }
        i
    }

    fn unite(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        self.0[one.max(other)] = one.min(other);
    }
}
