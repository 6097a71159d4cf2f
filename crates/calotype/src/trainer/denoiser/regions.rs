//! Which words of a caption name what of its picture.

use image::GrayImage;

use crate::data::item::DepictedObject;
use crate::denoiser::grounding::Region;
use crate::error::Result;
use crate::text_encoder::tokenizer::ClipTokenizer;

/// The objects that `caption` names, on a grid of `grid` (height, width) cells. Objects of one noun are one region: a
/// caption's word means all of them. What a text encoder of [`ClipTokenizer::max_length`] tokens does not see names
/// nothing.
///
/// # Errors
/// As [`ClipTokenizer::spell`].
pub fn regions(
    tokenizer: &ClipTokenizer,
    caption: &str,
    objects: &[DepictedObject],
    grid: [usize; 2],
) -> Result<Vec<Region>> {
    let (_, words) = tokenizer.spell(caption)?;
    // The end token takes the last row.
    let last = tokenizer.max_length() - 1;
    let mut regions: Vec<(&str, Region)> = Vec::new();
    for DepictedObject { noun, mask } in objects {
        let coverage = coverage(mask, grid);
        if let Some((_, region)) = regions.iter_mut().find(|(other, _)| other == noun) {
            region.coverage.iter_mut().zip(coverage).for_each(|(own, other)| *own = (*own + other).min(1.0));
            continue;
        }
        let (_, name) = tokenizer.spell(noun)?;
        let mut rows = Vec::new();
        for here in words.windows(name.len().max(1)) {
            if here.iter().map(|word| &word.word).eq(name.iter().map(|word| &word.word)) {
                // Row 0 is the start token's.
                rows.extend(here.iter().flat_map(|word| word.tokens.clone()).map(|token| token + 1));
            }
        }
        if rows.iter().all(|&row| row < last) && !rows.is_empty() {
            regions.push((noun, Region { rows, coverage }));
        }
    }
    Ok(regions.into_iter().map(|(_, region)| region).collect())
}

/// The share of each cell that the mask covers, `[height, width]`.
fn coverage(mask: &GrayImage, [height, width]: [usize; 2]) -> Vec<f32> {
    let (across, down) = (mask.width() as usize / width, mask.height() as usize / height);
    let whole = (255 * across * down) as f32;
    let cell = |i: usize| {
        let (top, left) = (i / width * down, i % width * across);
        let pixels =
            (0..across * down).map(|p| mask.get_pixel((left + p % across) as u32, (top + p / across) as u32));
        pixels.map(|pixel| f32::from(pixel.0[0])).sum::<f32>() / whole
    };
    (0..height * width).map(cell).collect()
}

#[cfg(test)]
mod tests {
    use image::Luma;

    use super::*;

    fn object(noun: &str, covers: impl Fn(u32, u32) -> bool) -> DepictedObject {
        let mask = GrayImage::from_fn(8, 4, |x, y| Luma([if covers(x, y) { 255 } else { 0 }]));
        DepictedObject { noun: noun.into(), mask }
    }

    #[test]
    fn words_are_found_and_masks_are_shares_of_cells() {
        let captions = ["a hot dog left of a cat", "a cat", "the dog and a hot bath"];
        let tokenizer = ClipTokenizer::train(captions.into_iter(), 600, 16).unwrap();
        let objects =
            [object("hot dog", |x, _| x < 3), object("cat", |_, y| y == 3), object("tree", |_, _| true)];
        let found = regions(&tokenizer, captions[0], &objects, [1, 2]).unwrap();
        let rows = |words: [&str; 2]| -> Vec<Vec<usize>> {
            let (_, spans) = tokenizer.spell(captions[0]).unwrap();
            let named = words.map(|phrase| phrase.split(' ').collect::<Vec<_>>());
            let of = |phrase: Vec<&str>| {
                let words = spans.iter().filter(|span| phrase.contains(&span.word.as_str()));
                words.flat_map(|span| span.tokens.clone().map(|token| token + 1)).collect()
            };
            named.map(of).to_vec()
        };
        assert_eq!(
            found.iter().map(|region| region.rows.clone()).collect::<Vec<_>>(),
            rows(["hot dog", "cat"])
        );
        assert_eq!(found[0].coverage, [0.75, 0.0]);
        assert_eq!(found[1].coverage, [0.25, 0.25]);

        let twice = [object("cat", |x, _| x < 2), object("cat", |x, _| x > 5)];
        let found = regions(&tokenizer, "a cat", &twice, [1, 2]).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].coverage, [0.5, 0.5]);

        // "dog" alone is no "hot dog".
        assert_eq!(regions(&tokenizer, captions[2], &objects[..1], [1, 2]).unwrap(), []);
    }

    #[test]
    fn what_is_cut_off_names_nothing() {
        let caption = "a cat and a cat and a cat and a dog";
        let tokenizer = ClipTokenizer::train([caption].into_iter(), 600, 8).unwrap();
        let objects = [object("dog", |_, _| true)];
        assert_eq!(regions(&tokenizer, caption, &objects, [1, 1]).unwrap(), []);
    }
}
