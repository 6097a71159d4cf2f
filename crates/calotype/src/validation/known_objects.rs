//! How well the maps of a denoiser in training lie on the objects of validation pictures.

use image::RgbImage;

use super::VALIDATION_SEED;
use super::localisation::{as_text, batch_size, explained};
use super::localisation_score::{Score, ScoredMap};
use super::scene_words::mask;
use crate::data::item::{DepictedObject, Item};
use crate::data::source::TrainingSet;
use crate::error::{Error, Result};
use crate::explain::heat_map::WordHeatMap;
use crate::explain::mask::Mask;
use crate::model::Model;

/// Pictures that are looked through for those with known objects, for each that is wanted.
const LOOKED_THROUGH: usize = 4;

/// Square pictures of which it is known where some things are that their captions name.
pub struct KnownObjects {
    pictures: Vec<RgbImage>,
    captions: Vec<String>,
    /// Of each picture, one or more.
    objects: Vec<Vec<NamedObject>>,
    side: u32,
}

/// A thing that a caption names.
#[derive(Debug, PartialEq)]
struct NamedObject {
    /// Words of the caption that name it, counted from 0: a noun may have several, and stand several times.
    words: Vec<usize>,
    /// Where it is seen.
    mask: Mask,
}

impl KnownObjects {
    /// The first `count` pictures of `data` with known objects that their captions name, of those of `side` pixels.
    ///
    /// - `read`: the words of a text, as the network reads them.
    ///
    /// # Errors
    /// `Error::Data` if there are none; those of the data.
    pub fn new(
        data: &TrainingSet,
        count: usize,
        side: u32,
        read: impl Fn(&str) -> Result<Vec<String>>,
    ) -> Result<Self> {
        let mut known = Self { pictures: vec![], captions: vec![], objects: vec![], side };
        let most = data.epoch_length().unwrap_or(usize::MAX).min(count.saturating_mul(LOOKED_THROUGH));
        for n in 0..most as u64 {
            if known.pictures.len() == count {
                break;
            }
            let place = data.place(n);
            let objects = if place.size == (side, side) { data.objects(n, place)? } else { vec![] };
            if objects.is_empty() {
                continue;
            }
            let Item { image, caption, .. } = data.item(n)?;
            let named = named_objects(&objects, &read(&caption)?, side, &read)?;
            if !named.is_empty() {
                known.pictures.push(image);
                known.captions.push(caption);
                known.objects.push(named);
            }
        }
        if known.pictures.is_empty() {
            let expected = "pictures whose captions name objects, and masks or boxes of these";
            let got = format!("none among the first {most}");
            return Err(Error::data("validation pictures for `diffusion.localisation`", expected, got));
        }
        Ok(known)
    }

    /// The words of a text, as a model reads captions.
    pub fn words(model: &Model, text: &str) -> Result<Vec<String>> {
        let words = model.text.read([text; 2], as_text())?.words;
        Ok(words.into_iter().map(|word| word.word).collect())
    }

    /// The score of all objects.
    ///
    /// # Errors
    /// As [`explain_pictures`](crate::explain::explain_pictures).
    pub fn score(&self, model: &Model) -> Result<Score> {
        let batch = batch_size(self.side);
        let mut scored = Vec::new();
        let batches = self.pictures.chunks(batch).zip(self.captions.chunks(batch));
        for ((pictures, captions), first) in batches.zip((0..).step_by(batch)) {
            let explanations = explained(model, pictures, captions, first as u64, VALIDATION_SEED)?;
            for (explanation, objects) in explanations.iter().zip(&self.objects[first..]) {
                for NamedObject { words, mask } in objects {
                    scored.push(ScoredMap::new(&mean_map(&explanation.maps, words)?, mask)?);
                }
            }
        }
        Score::of(&scored)
    }
}

/// The objects that a caption of these words names, and that are seen. Those of one noun are one: a caption's word means
/// all of them.
fn named_objects(
    objects: &[DepictedObject],
    caption: &[String],
    side: u32,
    read: impl Fn(&str) -> Result<Vec<String>>,
) -> Result<Vec<NamedObject>> {
    let mut named: Vec<NamedObject> = Vec::new();
    for DepictedObject { noun, mask: own } in objects {
        let (own, noun) = (mask(own, (side, side)), read(noun)?);
        let length = noun.len().max(1);
        let here = caption.windows(length).enumerate().filter(|(_, words)| *words == noun);
        let words: Vec<usize> = here.flat_map(|(first, _)| first..first + length).collect();
        if words.is_empty() || own.is_empty() {
            continue;
        }
        match named.iter_mut().find(|other| other.words == words) {
            Some(other) => other.mask = other.mask.or(&own),
            None => named.push(NamedObject { words, mask: own }),
        }
    }
    Ok(named)
}

/// The mean of these maps, one or more.
fn mean_map(maps: &[WordHeatMap], words: &[usize]) -> Result<WordHeatMap> {
    let found: Option<Vec<&WordHeatMap>> = words.iter().map(|&word| maps.get(word)).collect();
    let Some([first, others @ ..]) = found.as_deref() else {
        return Err(Error::shape("maps of a caption", format!("those of the words {words:?}"), maps.len()));
    };
    let mut mean = (*first).clone();
    for other in others {
        mean.values.iter_mut().zip(&other.values).for_each(|(sum, value)| *sum += value);
    }
    mean.values.iter_mut().for_each(|value| *value /= words.len() as f32);
    Ok(mean)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::sync::Arc;

    use image::{GrayImage, Luma};

    use super::*;
    use crate::data::pictures::Pictures;
    use crate::data::transform::Transform;
    use crate::testing::assert_refuses;

    fn split(text: &str) -> Result<Vec<String>> {
        Ok(text.split(' ').map(String::from).collect())
    }

    /// 8 × 8 pixels, of which the columns from `left` to before `right` are covered.
    fn object(noun: &str, left: u32, right: u32) -> DepictedObject {
        let mask = GrayImage::from_fn(8, 8, |x, _| Luma([if (left..right).contains(&x) { 255 } else { 0 }]));
        DepictedObject { noun: noun.into(), mask }
    }

    /// Grey pictures with these captions, and a cat at the left of each.
    struct Cats(Vec<String>);

    impl Pictures for Cats {
        fn count(&self) -> Option<u64> {
            Some(self.0.len() as u64)
        }

        fn name(&self, i: u64) -> String {
            format!("picture {i}")
        }

        fn captions(&self, i: u64) -> Cow<'_, [String]> {
            Cow::Borrowed(&self.0[i as usize..][..1])
        }

        fn picture(&self, _: u64, _: [u8; 3]) -> Result<RgbImage> {
            Ok(RgbImage::new(8, 8))
        }

        fn objects(&self, _: u64) -> Result<Vec<DepictedObject>> {
            Ok(vec![object("cat", 0, 4)])
        }

        fn dimensions(&self, _: u64) -> Result<(u32, u32)> {
            Ok((8, 8))
        }

        fn key(&self, _: u64) -> Result<[u8; 32]> {
            Ok([0; 32])
        }
    }

    fn known(captions: &[&str], side: u32) -> Result<KnownObjects> {
        let cats = Cats(captions.iter().map(|caption| caption.to_string()).collect());
        let data = TrainingSet::new(Arc::new(cats), None, 0, 8, Transform::default())?;
        KnownObjects::new(&data, 2, side, split)
    }

    #[test]
    fn pictures_whose_captions_name_what_is_there_are_found() {
        let found = known(&["a cat", "a dog", "the cat", "a cat too many"], 8).unwrap();
        assert_eq!(found.captions.len(), 2);
        assert!(found.captions.iter().all(|caption| caption.contains("cat")), "{:?}", found.captions);
        let mask = Mask::new(8, 8, |x, _| x < 4);
        assert_eq!(found.objects[0], [NamedObject { words: vec![1], mask }]);
        for (captions, side) in [(&["a dog", "nothing"], 8), (&["a cat", "a cat"], 16)] {
            assert_refuses(
                known(captions, side),
                "validation pictures for `diffusion.localisation`: expected",
            );
        }
    }

    #[test]
    fn objects_of_one_noun_are_one_and_what_is_not_seen_is_none() {
        let objects =
            [object("hot dog", 0, 2), object("cat", 2, 3), object("hot dog", 6, 8), object("tree", 0, 0)];
        let caption = split("a hot dog by a tree and a hot dog").unwrap();
        let named = named_objects(&objects, &caption, 8, split).unwrap();
        let mask = Mask::new(8, 8, |x, _| !(2..6).contains(&x));
        assert_eq!(named, [NamedObject { words: vec![1, 2, 8, 9], mask }]);
    }

    #[test]
    fn the_map_of_a_noun_is_the_mean_of_its_words() {
        let map = |word: &str, values: [f32; 2]| WordHeatMap {
            word: word.into(),
            height: 1,
            width: 2,
            values: values.to_vec(),
        };
        let maps = [map("hot", [1.0, 0.0]), map("dog", [0.0, 1.0]), map("dog", [0.5, 0.5])];
        assert_eq!(mean_map(&maps, &[0, 1, 2]).unwrap().values, [0.5, 0.5]);
        assert_eq!(mean_map(&maps, &[1, 2]).unwrap().values, [0.25, 0.75]);
        assert_refuses(mean_map(&maps, &[2, 3]), "maps of a caption: expected those of the words [2, 3]");
    }
}
