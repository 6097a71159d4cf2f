//! Which jobs are sampled together: those whose pictures are then, to the bit, what they are alone.

use std::sync::Arc;

use calotype::pipeline::{Generation, PictureRequest};

use super::asked::Asked;
use super::job::Job;

/// Pictures of 128 × 128 pixels that are sampled at a time; of larger ones fewer, for they fill the machine alone.
const AT_ONCE: usize = 16;

/// Pictures of this size that are sampled at a time.
pub fn at_once(width: usize, height: usize) -> usize {
    (AT_ONCE * 128 * 128 / (width * height).max(1)).clamp(1, AT_ONCE)
}

/// Whether a job may be sampled with others.
pub(super) fn together(taken: &[Arc<Job>], job: &Arc<Job>) -> bool {
    let Some(first) = taken.first() else { return false };
    let Some(leading) = first.asked.ready.first() else { return false };
    let pictures: usize = taken.iter().chain([job]).map(|job| job.asked.count()).sum();
    let sampling = &leading.sampling;
    pictures <= at_once(sampling.width, sampling.height)
        && !job.asked.ready.is_empty()
        && first.asked.model == job.asked.model
        && first.asked.word_maps == job.asked.word_maps
        && [&first.asked, &job.asked].into_iter().all(is_alone_with_its_prompts)
        && job.asked.ready.iter().all(|generation| is_alike(leading, generation))
}

/// Nothing but noise and texts of one chunk that never change: what is filled up to the longest of a batch, or summed,
/// might differ in the last bit.
fn is_alone_with_its_prompts(asked: &Asked) -> bool {
    let from_noise = |generation: &Arc<Generation>| {
        let origin = &generation.origin;
        origin.picture.is_none() && origin.reference.is_none() && generation.initial.is_none()
    };
    asked.explain.is_none()
        && asked
            .ready
            .iter()
            .all(|generation| from_noise(generation) && generation.pictures.iter().all(is_plain))
}

fn is_plain(picture: &PictureRequest) -> bool {
    let texts = [Some(&picture.prompt), picture.negative_prompt.as_ref()];
    let special = ["BREAK", "AND", "[", "]", "|"];
    texts.into_iter().flatten().all(|text| !special.iter().any(|mark| text.contains(mark)))
}

/// The same steps, and the same kind of guidance.
fn is_alike(one: &Generation, other: &Generation) -> bool {
    let (a, b) = (&one.sampling, &other.sampling);
    let kind = |generation: &Generation| {
        generation.pictures.first().map(|picture| {
            let guidance = picture.guidance;
            (guidance.scale > 1.0, guidance.rescale, guidance.interval, picture.true_cfg > 1.0)
        })
    };
    (a.sampler, a.generator, a.width, a.height, a.sizes, a.prompts)
        == (b.sampler, b.generator, b.width, b.height, b.sizes, b.prompts)
        && !a.prompts.chunks
        && kind(one) == kind(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pictures_are_many_at_once() {
        assert_eq!(
            [(64, 64), (128, 128), (256, 256), (512, 512), (2048, 2048)].map(|(w, h)| at_once(w, h)),
            [16, 16, 4, 1, 1]
        );
    }
}
