//! Everything that is asked of a comparison of pictures, and its course.
//!
//! What cannot be measured is refused before the first picture is read.

use std::path::PathBuf;

use burn::tensor::Device;
use serde_json::json;

use super::captioned::{OfCaptions, measure_clip_score, require_captions};
use super::extractor::ClipExtractor;
use super::extractor_name::ExtractorName;
use super::inception_v3::Tap;
use super::measured::{Measured, Unmeasurable};
use super::metric::Metric;
use super::paired::{OfPairs, PairedMetric, matched, measure_pairs};
use super::picture_set::{Decoding, PictureSet};
use super::protocol::Protocol;
use super::sample_size;
use super::set_metrics::{MetricSettings, SetMetric, measure};
use super::side::Side;
use super::sources::{Sources, is_npz};
use super::warnings;
use crate::data::collection::Collection;
use crate::data::image_folder::ImageFolder;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::shard::Shard;

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
    /// Of the generated pictures, this share alone, whose features are written in place of statistics: merged, they are
    /// those of one process, bit for bit.
    pub shard: Option<Shard>,
}

/// Everything of a comparison that is opened before it begins: weights, files, lists of pictures.
struct Opened {
    sources: Option<Sources>,
    sets: Vec<SetMetric>,
    pairs: Option<Pairs>,
    captioned: Option<(ImageFolder, ClipExtractor)>,
    /// What is known not to be measurable.
    unmeasurable: Vec<Unmeasurable>,
}

/// What is measured on pairs of pictures, and its sides.
struct Pairs {
    metrics: Vec<PairedMetric>,
    generated: PictureSet,
    reference: PictureSet,
}

impl Comparison {
    /// Measures. A metric that cannot be measured (of too few or too small pictures, of statistics that need features)
    /// has its reason in place of a value, if anything else is measured.
    ///
    /// # Errors
    /// `Error::Argument` for what is missing or does not go together; `Error::Data` for sides that cannot be
    /// measured or compared; those of reading weights and pictures.
    pub fn run(&self, device: &Device, progress: &dyn Progress) -> Result<Measured> {
        let Opened { sources, sets, pairs, captioned, mut unmeasurable } = self.open(device)?;
        let mut measured = Measured::default();
        if let Some(sources) = sources
            && (!sets.is_empty() || self.stats_out.is_some())
        {
            unmeasurable.extend(self.measure_sets(sources, &sets, progress, &mut measured)?);
        }
        if let Some(pairs) = pairs {
            unmeasurable.extend(self.measure_pairs(&pairs, &mut measured)?);
        }
        if let Some((folder, extractor)) = captioned {
            unmeasurable.extend(self.measure_captions(&folder, &extractor, progress, &mut measured)?);
        }
        measured.complete(unmeasurable)
    }

    fn open(&self, device: &Device) -> Result<Opened> {
        let of_sets = self.metrics.is_empty() || self.metrics.iter().any(|metric| metric.of_sets().is_some());
        let wanted = of_sets || self.stats_out.is_some();
        let sources = if wanted { Some(Sources::open(self, device)?) } else { None };
        let (metrics, mut unmeasurable) = match &sources {
            Some(sources) => sources.plan(self)?,
            None => (self.metrics.clone(), vec![]),
        };
        let mut opened = |names: Vec<String>, error| -> Result<()> {
            unmeasurable.push(Unmeasurable::take(names, error)?);
            Ok(())
        };
        let pairs = match self.pairs(&metrics, device) {
            Ok(pairs) => pairs,
            Err(error) => {
                let names = metrics.iter().filter(|metric| metric.is_of_pairs()).map(Metric::to_string);
                opened(names.collect(), error)?;
                None
            }
        };
        let captioned = match metrics.contains(&Metric::ClipScore).then(|| self.captioned(device)).transpose()
        {
            Ok(captioned) => captioned,
            Err(error) => {
                opened(vec![Metric::ClipScore.to_string()], error)?;
                None
            }
        };
        let sets = metrics.iter().filter_map(|metric| metric.of_sets()).collect();
        Ok(Opened { sources, sets, pairs, captioned, unmeasurable })
    }

    /// Metrics of pairs, and their sides, if there are any.
    fn pairs(&self, metrics: &[Metric], device: &Device) -> Result<Option<Pairs>> {
        let of_pairs = metrics.iter().map(|metric| metric.of_pairs(&self.lpips_weights, device));
        let metrics: Vec<PairedMetric> =
            of_pairs.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
        if metrics.is_empty() {
            return Ok(None);
        }
        let (generated, reference) = self.two_folders()?;
        Ok(Some(Pairs { metrics, generated, reference }))
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
        require_captions(&folder)?;
        Ok((folder, ClipExtractor::load(weights, vec![], device)?))
    }

    /// Metrics of sets, and the statistics.
    fn measure_sets(
        &self,
        sources: Sources,
        metrics: &[SetMetric],
        progress: &dyn Progress,
        measured: &mut Measured,
    ) -> Result<Vec<Unmeasurable>> {
        let suffix = sources.suffix();
        let settings = self.settings(&suffix);
        let (generated, reference) = sources.extract(metrics, self, progress)?;
        let reference = reference.as_ref();
        measured.warn(warnings::of_sides(&generated, reference));
        let mut unmeasurable = Vec::new();
        for &metric in metrics {
            // Once more: pictures that cannot be read may have been left out.
            let found = sample_size::require(metric, generated.n(), reference.and_then(Side::n), &settings)
                .and_then(|()| measure(metric, &generated, reference, &settings, &suffix));
            match found {
                Ok(reports) => measured.numbers.extend(reports),
                Err(reason) => unmeasurable.push(Unmeasurable::take(metric.numbers(&suffix), reason)?),
            }
        }
        if metrics.contains(&SetMetric::Kid) {
            measured.warn(reference.and_then(|reference| settings.subset_warning(&generated, reference)));
        }
        for (name, side) in [("generated", Some(&generated)), ("reference", reference)] {
            if let Some(facts) = side.and_then(|side| side.facts.as_ref()) {
                measured.facts(name, facts);
            }
        }
        let Some(path) = &self.stats_out else { return Ok(unmeasurable) };
        match self.shard {
            Some(_) => generated.write_features(path)?,
            None => generated.write_statistics(path)?,
        }
        let written = json!({
            "file": path, "n": generated.n(), "features": generated.dimension(),
            "protocol": generated.protocol.to_json(),
        });
        measured.numbers.insert("statistics".into(), written);
        Ok(unmeasurable)
    }

    fn measure_pairs(&self, pairs: &Pairs, measured: &mut Measured) -> Result<Vec<Unmeasurable>> {
        let Pairs { metrics, generated, reference } = pairs;
        let found = measure_pairs(metrics, generated, reference, self.batch, self.skip_broken);
        let OfPairs { reports, generated, reference } = match found {
            Ok(found) => found,
            Err(error) => {
                let names = metrics.iter().map(|metric| metric.name().to_owned()).collect();
                return Ok(vec![Unmeasurable::take(names, error)?]);
            }
        };
        let mut unmeasurable = Vec::new();
        for (name, report) in reports {
            match report {
                Ok(report) => drop(measured.numbers.insert(name, report)),
                Err(error) => unmeasurable.push(Unmeasurable::take(vec![name], error)?),
            }
        }
        measured.warn(warnings::of_pictures(Some(&generated), Some(&reference), Decoding::Upright));
        measured.facts("generated", &generated);
        measured.facts("reference", &reference);
        Ok(unmeasurable)
    }

    fn measure_captions(
        &self,
        folder: &ImageFolder,
        extractor: &ClipExtractor,
        progress: &dyn Progress,
        measured: &mut Measured,
    ) -> Result<Vec<Unmeasurable>> {
        let mut done = 0;
        progress.begin("clip-score", 0, folder.len());
        let mut step = |more| {
            done += more;
            progress.step(done, "");
        };
        let found = measure_clip_score(folder, extractor, self.batch, self.skip_broken, &mut step);
        progress.end("clip-score");
        let OfCaptions { report, facts } = match found {
            Ok(found) => found,
            Err(error) => return Ok(vec![Unmeasurable::take(vec![Metric::ClipScore.to_string()], error)?]),
        };
        measured.numbers.insert("clip-score".into(), report);
        measured.warn(warnings::of_pictures(Some(&facts), None, Decoding::Upright));
        measured.facts("generated", &facts);
        Ok(vec![])
    }
}
