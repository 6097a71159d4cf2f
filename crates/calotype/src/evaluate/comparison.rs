//! Everything that is asked of a comparison of pictures, and its course.
//!
//! What cannot be measured is refused before the first picture is read.

use std::path::PathBuf;

use burn::tensor::Device;
use serde_json::json;

use super::captioned::{OfCaptions, measure_clip_score};
use super::extractor::ClipExtractor;
use super::extractor_name::ExtractorName;
use super::inception_v3::Tap;
use super::measured::Measured;
use super::metric::Metric;
use super::paired::{PairedMetric, matched, measure_pairs};
use super::picture_set::{Decoding, PictureSet};
use super::protocol::Protocol;
use super::sample_size;
use super::set_metrics::{MetricSettings, SetMetric, measure};
use super::side::Side;
use super::sources::{Sources, TooFew, is_npz};
use super::warnings;
use crate::data::collection::Collection;
use crate::data::image_folder::ImageFolder;
use crate::error::{Error, Result};
use crate::progress::Progress;

/// What to measure, on what, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Generated pictures: a folder, or an `.npz` of features or statistics.
    pub generated: PathBuf,
    /// Reference pictures, likewise.
    pub reference: Option<PathBuf>,
    /// What turns a picture into features; by default CLIP if the weights are a folder, Inception otherwise.
    pub extractor: Option<ExtractorName>,
    /// Inception's weight file, or a model folder with `clip/` and `tokenizer/`.
    pub weights: Option<PathBuf>,
    /// Weight files of LPIPS.
    pub lpips_weights: Vec<PathBuf>,
    /// How pictures become Inception's input.
    pub protocol: Protocol,
    /// Which of Inception's features.
    pub features: Tap,
    /// What to measure; by default what the sides allow, or nothing if the statistics are all that can be had.
    pub metrics: Vec<Metric>,
    /// Classes of CLIP's score; by default the nouns of the embedded scenes.
    pub classes: Vec<String>,
    /// Splits of the Inception Score; by default those of the settings, with CLIP 1.
    pub splits: Option<usize>,
    /// Everything else that the numbers depend on.
    pub settings: MetricSettings,
    /// Pictures in memory at a time; changes no number.
    pub batch: usize,
    /// Leave out pictures that cannot be read, and count them.
    pub skip_broken: bool,
    /// Keep mean and covariance of the features only.
    pub stream: bool,
    /// Where to write the statistics of the generated side.
    pub stats_out: Option<PathBuf>,
}

/// Everything of a comparison that is opened before it begins: weights, files, lists of pictures.
struct Opened {
    sources: Option<Sources>,
    sets: Vec<SetMetric>,
    too_few: Vec<TooFew>,
    pairs: Vec<PairedMetric>,
    folders: Option<(PictureSet, PictureSet)>,
    captioned: Option<(ImageFolder, ClipExtractor)>,
}

impl Comparison {
    /// Measures. A metric of sets that there are too few pictures for has its reason in place of a value, if there is
    /// anything else to measure.
    ///
    /// # Errors
    /// `Error::Argument` for what is missing or does not go together; `Error::Data` for sides that cannot be
    /// measured or compared; those of reading weights and pictures.
    pub fn run(&self, device: &Device, progress: &dyn Progress) -> Result<Measured> {
        let Opened { sources, sets, mut too_few, pairs, folders, captioned } = self.open(device)?;
        let mut measured = Measured::default();
        let nothing_else = sets.is_empty() && pairs.is_empty() && captioned.is_none();
        if nothing_else && self.stats_out.is_none() && !too_few.is_empty() {
            return Err(too_few.swap_remove(0).reason);
        }
        if let Some(sources) = sources {
            let suffix = sources.suffix();
            too_few.iter().for_each(|one| measured.cannot(one.metric.numbers(&suffix), &one.reason));
            if !sets.is_empty() || self.stats_out.is_some() {
                self.measure_sets(sources, &sets, progress, &mut measured)?;
            }
        }
        if let Some((generated, reference)) = folders {
            self.measure_pairs(&pairs, (&generated, &reference), &mut measured)?;
        }
        if let Some((folder, extractor)) = captioned {
            self.measure_captions(&folder, &extractor, progress, &mut measured)?;
        }
        Ok(measured)
    }

    fn open(&self, device: &Device) -> Result<Opened> {
        let of_sets = self.metrics.is_empty() || self.metrics.iter().any(|metric| metric.of_sets().is_some());
        let wanted = of_sets || self.stats_out.is_some();
        let sources = if wanted { Some(Sources::open(self, device)?) } else { None };
        let (metrics, too_few) = match &sources {
            Some(sources) => sources.plan(self)?,
            None => (self.metrics.clone(), vec![]),
        };
        let of_pairs = metrics.iter().map(|metric| metric.of_pairs(&self.lpips_weights, device));
        let pairs: Vec<PairedMetric> = of_pairs.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
        let folders = if pairs.is_empty() { None } else { Some(self.two_folders()?) };
        let score = metrics.contains(&Metric::ClipScore);
        let captioned = if score { Some(self.captioned(device)?) } else { None };
        let sets = metrics.iter().filter_map(|metric| metric.of_sets()).collect();
        Ok(Opened { sources, sets, too_few, pairs, folders, captioned })
    }

    /// The settings for metrics whose names end in `suffix`.
    pub(super) fn settings(&self, suffix: &str) -> MetricSettings {
        let usual = if suffix == "-clip" { 1 } else { self.settings.splits };
        MetricSettings { splits: self.splits.unwrap_or(usual), ..self.settings }
    }

    /// The sides of metrics of pairs.
    fn two_folders(&self) -> Result<(PictureSet, PictureSet)> {
        match &self.reference {
            Some(reference) if !is_npz(&self.generated) && !is_npz(reference) => {
                let (generated, reference) =
                    (PictureSet::open(&self.generated)?, PictureSet::open(reference)?);
                matched(&generated, &reference)?;
                Ok((generated, reference))
            }
            _ => Err(Error::data("generated and reference", "two folders of pictures", "other")),
        }
    }

    /// The generated side with its captions, and the CLIP model.
    fn captioned(&self, device: &Device) -> Result<(ImageFolder, ClipExtractor)> {
        let weights = self.weights.as_deref().filter(|weights| weights.is_dir()).ok_or_else(|| {
            let expected = "for clip-score a model folder with clip/ and tokenizer/";
            let got = self.weights.as_ref().map_or("none".into(), |weights| weights.display().to_string());
            Error::argument("weights", expected, got)
        })?;
        if is_npz(&self.generated) {
            let expected = "for clip-score a folder of pictures with metadata.jsonl";
            return Err(Error::data("generated", expected, "features or statistics"));
        }
        let folder = ImageFolder::open(&self.generated)?;
        Ok((folder, ClipExtractor::load(weights, vec![], device)?))
    }

    /// Metrics of sets, and the statistics.
    fn measure_sets(
        &self,
        sources: Sources,
        metrics: &[SetMetric],
        progress: &dyn Progress,
        measured: &mut Measured,
    ) -> Result<()> {
        let suffix = sources.suffix();
        let settings = self.settings(&suffix);
        let (generated, reference) = sources.extract(metrics, self, progress)?;
        let reference = reference.as_ref();
        measured.warn(warnings::of_sides(&generated, reference));
        let mut too_few = Vec::new();
        for &metric in metrics {
            // Once more: pictures that cannot be read may have been left out.
            match sample_size::require(metric, generated.n(), reference.and_then(Side::n), &settings) {
                Ok(()) => {
                    measured.numbers.extend(measure(metric, &generated, reference, &settings, &suffix)?);
                }
                Err(reason) => {
                    measured.cannot(metric.numbers(&suffix), &reason);
                    too_few.push(reason);
                }
            }
        }
        if too_few.len() == metrics.len() && !too_few.is_empty() {
            return Err(too_few.swap_remove(0));
        }
        if metrics.contains(&SetMetric::Kid) {
            measured.warn(reference.and_then(|reference| settings.subset_warning(&generated, reference)));
        }
        for (name, side) in [("generated", Some(&generated)), ("reference", reference)] {
            if let Some(facts) = side.and_then(|side| side.facts.as_ref()) {
                measured.facts(name, facts);
            }
        }
        let Some(path) = &self.stats_out else { return Ok(()) };
        generated.write_statistics(path)?;
        let written = json!({
            "file": path, "n": generated.n(), "features": generated.dimension(),
            "protocol": generated.protocol.to_json(),
        });
        measured.numbers.insert("statistics".into(), written);
        Ok(())
    }

    fn measure_pairs(
        &self,
        metrics: &[PairedMetric],
        (generated, reference): (&PictureSet, &PictureSet),
        measured: &mut Measured,
    ) -> Result<()> {
        let found = measure_pairs(metrics, generated, reference, self.batch, self.skip_broken)?;
        measured.numbers.extend(found.reports);
        let (ours, theirs) = (&found.generated, &found.reference);
        measured.warn(warnings::of_pictures(Some(ours), Some(theirs), Decoding::Upright));
        measured.facts("generated", ours);
        measured.facts("reference", theirs);
        Ok(())
    }

    fn measure_captions(
        &self,
        folder: &ImageFolder,
        extractor: &ClipExtractor,
        progress: &dyn Progress,
        measured: &mut Measured,
    ) -> Result<()> {
        let mut done = 0;
        progress.begin("clip-score", 0, folder.len());
        let mut step = |more| {
            done += more;
            progress.step(done, "");
        };
        let found = measure_clip_score(folder, extractor, self.batch, self.skip_broken, &mut step);
        progress.end("clip-score");
        let OfCaptions { report, facts } = found?;
        measured.numbers.insert("clip-score".into(), report);
        measured.warn(warnings::of_pictures(Some(&facts), None, Decoding::Upright));
        measured.facts("generated", &facts);
        Ok(())
    }
}
