//! `--metrics clip-score`: pictures against their own captions.

use calotype::data::collection::Collection;
use calotype::data::image_folder::ImageFolder;
use calotype::evaluate::captioned::{OfCaptions, measure_clip_score};
use calotype::evaluate::extractor::ClipExtractor;
use calotype::progress::Progress;
use calotype::{Error, Result};

use super::{Args, is_npz};
use crate::options::Context;

/// The generated side with its captions, and the CLIP model.
pub struct Captions {
    folder: ImageFolder,
    extractor: ClipExtractor,
}

impl Captions {
    /// Reads captions and weights, no picture.
    pub fn open(args: &Args, context: &Context) -> Result<Self> {
        let weights = args.weights.as_deref().filter(|weights| weights.is_dir()).ok_or_else(|| {
            let expected = "for clip-score a model folder with clip/ and tokenizer/";
            let got = args.weights.as_ref().map_or("none".into(), |weights| weights.display().to_string());
            Error::argument("--weights", expected, got)
        })?;
        let generated = args.generated.as_deref().filter(|path| !is_npz(path)).ok_or_else(|| {
            let expected = "for clip-score a folder of pictures with metadata.jsonl";
            Error::argument("--generated", expected, "features or statistics").of_data()
        })?;
        let folder = ImageFolder::open(generated)?;
        Ok(Self { folder, extractor: ClipExtractor::load(weights, vec![], &context.device)? })
    }

    /// The score.
    pub fn measure(&self, args: &Args, context: &Context) -> Result<OfCaptions> {
        let mut done = 0;
        context.bars.begin("clip-score", 0, self.folder.len());
        let found =
            measure_clip_score(&self.folder, &self.extractor, args.batch, args.skip_broken, &mut |more| {
                done += more;
                context.bars.step(done, "");
            });
        context.bars.end("clip-score");
        found.map_err(Error::of_data)
    }
}
