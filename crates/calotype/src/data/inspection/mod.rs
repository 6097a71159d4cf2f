//! What a collection of pictures holds, and what a person should look at before training on it.

mod captions;
mod duplicates;
mod statistics;

use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;
use serde::Serialize;
use sha2::{Digest, Sha256};

pub use self::captions::{CaptionStatistics, Words};
pub use self::statistics::{AspectRatio, Counted, Kinds, Sides, Sizes};
use self::statistics::{aspect_ratios, kinds};
use super::collection::{Collection, Fault, FaultKind};
use super::item::Damaged;
use super::picture::{self, PictureInfo};
use crate::error::Result;

/// Transparent parts are laid over white, so that a picture and its copy without alpha look the same.
const BACKGROUND: [u8; 3] = [255; 3];

/// What a collection holds. Sizes, kinds and duplicates are those of the readable pictures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// Pictures, readable or not.
    pub count: usize,
    /// Width and height.
    pub sizes: Sizes,
    /// Pictures by width : height, from narrow to wide; each counts where it is nearest.
    pub aspect_ratios: Vec<AspectRatio>,
    /// File formats and colour types.
    pub kinds: Kinds,
    /// What is said about the pictures.
    pub captions: CaptionStatistics,
    /// Pictures that cannot be read or decoded, in their order.
    pub unreadable: Vec<Damaged>,
    /// Every fault of the source: what it lists itself, then the pictures that cannot be read.
    #[serde(skip)]
    pub faults: Vec<Fault>,
    /// Groups of pictures whose files are equal (SHA-256).
    pub duplicates: Vec<Vec<String>>,
    /// Groups of pictures that look the same though their files differ. Of equal files only the first is
    /// named here.
    pub near_duplicates: Vec<Vec<String>>,
    /// Name and shorter side of every readable picture.
    #[serde(skip)]
    shorter_sides: Vec<(String, u32)>,
}

/// What is kept of a picture after it has been looked at.
struct Look {
    info: PictureInfo,
    file: [u8; 32],
    fingerprint: duplicates::Fingerprint,
}

/// Reads and decodes every picture of `collection`, at most `threads` at a time.
///
/// The result does not depend on `threads`. `progress` gets the number of pictures done so far, each
/// number from 1 to the last once, from any thread and not always in order.
pub fn inspect(collection: &dyn Collection, threads: usize, progress: &(dyn Fn(usize) + Sync)) -> Inspection {
    let done = AtomicUsize::new(0);
    let look = |i| {
        let look = look_at(collection, i);
        progress(1 + done.fetch_add(1, Ordering::Relaxed));
        look
    };
    let all = 0..collection.len();
    let looks: Vec<Result<Look>> = match rayon::ThreadPoolBuilder::new().num_threads(threads.max(1)).build() {
        // One picture may take a thousand times as long as the next: each is a piece of its own.
        Ok(pool) => pool.install(|| all.into_par_iter().with_max_len(1).map(look).collect()),
        // The system grants no threads; slower, but the same.
        Err(_) => all.map(look).collect(),
    };
    summary(collection, looks)
}

fn look_at(collection: &dyn Collection, i: usize) -> Result<Look> {
    let (bytes, name) = (collection.bytes(i)?, collection.name(i));
    let info = picture::describe(&bytes, &name)?;
    let pixels = picture::decode(&bytes, &name, BACKGROUND)?;
    let file = Sha256::digest(&bytes).into();
    Ok(Look { info, file, fingerprint: duplicates::Fingerprint::of(&pixels) })
}

fn summary(collection: &dyn Collection, looks: Vec<Result<Look>>) -> Inspection {
    let mut unreadable = Vec::new();
    let (mut readable, mut read) = (Vec::new(), Vec::new());
    for (i, look) in looks.into_iter().enumerate() {
        match look {
            Ok(look) => {
                readable.push(i);
                read.push(look);
            }
            Err(error) => unreadable.push(Damaged { name: collection.name(i), reason: error.to_string() }),
        }
    }
    let mut faults = collection.faults();
    faults.extend(unreadable.iter().map(|Damaged { name, reason }| Fault {
        kind: FaultKind::Unreadable,
        file: name.clone(),
        line: None,
        reason: reason.clone(),
    }));
    let infos: Vec<PictureInfo> = read.iter().map(|look| look.info).collect();
    let files: Vec<[u8; 32]> = read.iter().map(|look| look.file).collect();
    let fingerprints: Vec<_> = read.iter().map(|look| look.fingerprint).collect();
    let groups = duplicates::Groups::of(&files, &fingerprints);
    let names = |groups: Vec<Vec<usize>>| -> Vec<Vec<String>> {
        groups.iter().map(|group| group.iter().map(|&i| collection.name(readable[i])).collect()).collect()
    };
    let sides =
        readable.iter().zip(&infos).map(|(&i, info)| (collection.name(i), info.width.min(info.height)));
    Inspection {
        count: collection.len(),
        sizes: Sizes::of(&infos),
        aspect_ratios: aspect_ratios(&infos),
        kinds: kinds(&infos),
        captions: CaptionStatistics::of((0..collection.len()).map(|i| collection.captions(i))),
        unreadable,
        faults,
        duplicates: names(groups.equal),
        near_duplicates: names(groups.near),
        shorter_sides: sides.collect(),
    }
}

impl Inspection {
    /// Readable pictures with a side shorter than `side` pixels, in their order: to be trained at that
    /// size, they would have to be enlarged.
    pub fn smaller_than(&self, side: u32) -> Vec<&str> {
        self.shorter_sides.iter().filter(|(_, one)| *one < side).map(|(name, _)| name.as_str()).collect()
    }

    /// What a person should look at, one line each; empty if nothing was found.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(first) = self.unreadable.first() {
            problems.push(format!(
                "{} cannot be read; the first: {}",
                of(self.unreadable.len(), self.count),
                first.reason
            ));
        }
        let listed = self.faults.len() - self.unreadable.len();
        if let Some(first) = self.faults.first().filter(|_| listed > 0) {
            problems.push(format!("{listed} faults of the metadata, captions or files; the first: {first}"));
        }
        self.captions.problems(self.count, &mut problems);
        for (groups, what) in
            [(&self.duplicates, "the same file"), (&self.near_duplicates, "nearly the same picture")]
        {
            if let Some(first) = groups.first() {
                let spare = groups.iter().map(|group| group.len() - 1).sum();
                let first = shortened(first);
                problems
                    .push(format!("{} repeat {what} as another; the first: {first}", of(spare, self.count)));
            }
        }
        let extreme = |ratio: &&AspectRatio| ratio.is_extreme();
        let extreme: usize = self.aspect_ratios.iter().filter(extreme).map(|ratio| ratio.count).sum();
        if extreme > 0 {
            problems.push(format!("{} are narrower than 1:3 or wider than 3:1", of(extreme, self.count)));
        }
        if self.kinds.alpha > 0 {
            let what = "have an alpha channel: what is transparent is laid over the background";
            problems.push(format!("{} {what}", of(self.kinds.alpha, self.count)));
        }
        problems
    }
}

/// `3 of 1000 pictures`.
fn of(some: usize, all: usize) -> String {
    format!("{some} of {all} pictures")
}

/// The first few names.
fn shortened(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN { format!("{shown} and {} more", names.len() - SHOWN) } else { shown }
}

#[cfg(test)]
mod tests;
