//! Which words of a scene's caption name something that is seen, and where it is.

use image::GrayImage;
use image::imageops::{self, FilterType};

use crate::data::emoji_scenes::Scene;
use crate::explain::mask::Mask;
use crate::named::named_enum;

named_enum! {
    /// What a word of a caption names.
    pub enum WordClass {
        /// An object: its mask.
        Noun = "noun",
        /// The colour of the background: all that no object covers.
        Colour = "colour",
        /// How large the object is whose noun follows: its mask.
        Size = "size",
        /// How the first object lies to the second: both of their masks.
        Relation = "relation",
    }
}

/// Words of a relation that say nothing alone.
const FUNCTION_WORDS: [&str; 6] = ["to", "the", "of", "on", "a", "from"];

/// A word that names something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedWord {
    /// Which word of the caption, counted from 0.
    pub index: usize,
    /// What it names.
    pub class: WordClass,
    /// Where that is, in a picture of the size that was asked for.
    pub mask: Mask,
}

/// The words of a scene's caption that name something, in order.
///
/// - `size`: width and height of the picture that the masks are for.
pub fn named_words(scene: &Scene, size: (u32, u32)) -> Vec<NamedWord> {
    let words: Vec<&str> = scene.caption.split(' ').collect();
    let masks: Vec<Mask> = scene.objects.iter().map(|object| mask(&object.mask, size)).collect();
    let mut named = Vec::new();
    let mut add = |index: usize, class: WordClass, mask: Mask| named.push(NamedWord { index, class, mask });
    let mut objects = scene.objects.iter().enumerate().peekable();
    // Where the first two nouns stand, with what describes them: between them is the relation.
    let mut phrases = Vec::new();
    for (i, word) in words.iter().enumerate() {
        let Some((object, _)) = objects.next_if(|(_, object)| object.noun.name() == *word) else { continue };
        let is_sized = scene.spec.objects[object].1.is_some();
        if is_sized {
            add(i - 1, WordClass::Size, masks[object].clone());
        }
        add(i, WordClass::Noun, masks[object].clone());
        // An article comes first.
        phrases.push((i - 1 - usize::from(is_sized), i));
    }
    if let (Some(_), [(_, first), (second, _), ..]) = (scene.spec.relation, &phrases[..]) {
        let both = masks[0].or(&masks[1]);
        for i in (first + 1..*second).filter(|&i| !FUNCTION_WORDS.contains(&words[i])) {
            add(i, WordClass::Relation, both.clone());
        }
    }
    if scene.named_background().is_some()
        && let Some(objects) = masks.into_iter().reduce(|all, mask| all.or(&mask))
    {
        // The last word is `background`.
        add(words.len() - 2, WordClass::Colour, objects.complement());
    }
    named.sort_by_key(|word| word.index);
    named
}

/// What the mask covers, at this size.
pub fn mask(mask: &GrayImage, (width, height): (u32, u32)) -> Mask {
    let resized = imageops::resize(mask, width, height, FilterType::Nearest);
    Mask::new(width as usize, height as usize, |x, y| resized.get_pixel(x as u32, y as u32).0[0] >= 128)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::emoji_scenes::{EmojiScenes, EmojiScenesConfig, Split};

    #[test]
    fn every_word_that_names_something_is_found() {
        let scenes = EmojiScenes::new(EmojiScenesConfig::default()).unwrap();
        let mut seen = WordClass::ALL.map(|_| 0);
        for i in 0..300 {
            let scene = scenes.scene(Split::HeldOut, i);
            let words: Vec<&str> = scene.caption.split(' ').collect();
            let named = named_words(&scene, (32, 32));
            let of = |class: WordClass| {
                let found = named.iter().filter(move |word| word.class == class);
                found.map(|word| words[word.index]).collect::<Vec<&str>>()
            };
            let nouns: Vec<&str> = scene.objects.iter().map(|object| object.noun.name()).collect();
            assert_eq!(of(WordClass::Noun), nouns, "{}", scene.caption);
            let sizes = scene.spec.objects.iter().filter_map(|(_, size)| Some(size.as_ref()?.name()));
            assert_eq!(of(WordClass::Size), sizes.collect::<Vec<_>>(), "{}", scene.caption);
            let names_background = words.last() == Some(&"background");
            let colour = names_background.then(|| scene.spec.background.name());
            assert_eq!(of(WordClass::Colour), colour.into_iter().collect::<Vec<_>>(), "{}", scene.caption);
            let relation = scene.spec.relation.map_or(&[][..], |relation| relation.phrasings());
            let says = of(WordClass::Relation);
            assert_eq!(says.is_empty(), relation.is_empty(), "{}", scene.caption);
            let phrase = |phrase: &&str| {
                let content = phrase.split(' ').filter(|word| !FUNCTION_WORDS.contains(word));
                content.eq(says.iter().copied())
            };
            assert!(relation.is_empty() || relation.iter().any(phrase), "{}: {says:?}", scene.caption);
            WordClass::ALL.into_iter().zip(&mut seen).for_each(|(class, n)| *n += of(class).len());
        }
        assert!(seen.iter().all(|&n| n > 20), "{seen:?}");
    }

    #[test]
    fn masks_are_those_of_what_is_named() {
        let scenes = EmojiScenes::new(EmojiScenesConfig::default()).unwrap();
        let found = (0..).map(|i| scenes.scene(Split::HeldOut, i)).find(|scene| {
            scene.objects.len() == 2 && scene.caption.ends_with("background") && scene.spec.relation.is_some()
        });
        let scene = found.unwrap();
        let own: Vec<Mask> = scene.objects.iter().map(|object| mask(&object.mask, (64, 64))).collect();
        let both = own[0].or(&own[1]);
        for word in named_words(&scene, (64, 64)) {
            match word.class {
                WordClass::Relation => assert_eq!(word.mask, both),
                WordClass::Colour => assert_eq!(word.mask, both.complement()),
                WordClass::Noun | WordClass::Size => assert!(own.contains(&word.mask)),
            }
        }
    }
}
