//! Pictures that ranks have encoded, each its share of a wave, and what all of them hear.

use serde_json::json;

use crate::data::source::Damaged;
use crate::error::Result;
use crate::ranks::{self, Ranks};
use crate::trainer::tensor_store::Key;

/// What became of a picture.
pub(super) enum Encoded {
    /// Its key, and its record where that is new.
    Latents(Key, Vec<f32>),
    /// It cannot be read.
    Damaged(Damaged),
}

/// A wave of all ranks, of which each has encoded its share.
pub(super) fn share(own: Vec<Encoded>, wave: usize, ranks: &dyn Ranks) -> Result<Vec<Encoded>> {
    let count = ranks.count();
    if count == 1 {
        return Ok(own);
    }
    // Texts of the damaged; key, number of values and values of the others.
    let said: Vec<Option<[&str; 2]>> = own
        .iter()
        .map(|encoded| match encoded {
            Encoded::Latents(..) => None,
            Encoded::Damaged(damaged) => Some([damaged.name.as_str(), &damaged.reason]),
        })
        .collect();
    let said = ranks::gather_texts(ranks, &json!(said).to_string())?;
    let texts = said.iter().map(|text| serde_json::from_str(text).unwrap_or_default());
    let texts: Vec<Option<[String; 2]>> = texts.flat_map(|texts: Vec<_>| texts).collect();
    let latents = || {
        own.iter().filter_map(|encoded| match encoded {
            Encoded::Latents(key, values) => Some((key, values)),
            Encoded::Damaged(_) => None,
        })
    };
    let lengths: Vec<u64> = own
        .iter()
        .map(|encoded| match encoded {
            Encoded::Latents(_, values) => values.len() as u64,
            Encoded::Damaged(_) => 0,
        })
        .collect();
    let pictures: Vec<usize> = (0..count).map(|rank| ranks::own(wave, rank, count).len()).collect();
    let lengths = ranks::gather(ranks, &lengths, &pictures)?;
    let of_rank = |rank: usize| ranks::own(wave, rank, count);
    let readable = |i: &usize| texts.get(*i).is_some_and(Option::is_none);
    let keys: Vec<usize> = (0..count).map(|rank| 32 * of_rank(rank).filter(readable).count()).collect();
    let keys: Vec<u8> =
        ranks::gather(ranks, &latents().flat_map(|(key, _)| *key).collect::<Vec<u8>>(), &keys)?;
    let counts: Vec<usize> =
        (0..count).map(|rank| lengths[of_rank(rank)].iter().sum::<u64>() as usize).collect();
    let values: Vec<f32> = latents().flat_map(|(_, values)| values.iter().copied()).collect();
    let values: Vec<f32> = ranks::gather(ranks, &values, &counts)?;
    let (mut keys, mut values) = (keys.chunks_exact(32), values.as_slice());
    let one = |(text, length): (Option<[String; 2]>, u64)| match text {
        Some([name, reason]) => Encoded::Damaged(Damaged { name, reason }),
        None => {
            let (own, rest) = values.split_at(length as usize);
            values = rest;
            let key = keys.next().and_then(|key| key.try_into().ok()).unwrap_or_default();
            Encoded::Latents(key, own.to_vec())
        }
    };
    Ok(texts.into_iter().zip(lengths).map(one).collect())
}
