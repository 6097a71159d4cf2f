//! The sides of metrics of sets: opened first, checked, and only then read.

use std::path::Path;

use burn::tensor::Device;

use super::comparison::Comparison;
use super::extractor::Extractor;
use super::extractor_name::ExtractorName;
use super::measured::Unmeasurable;
use super::metric::Metric;
use super::picture_set::PictureSet;
use super::sample_size;
use super::set_metrics::SetMetric;
use super::side::{Keep, Side};
use super::side_protocol::SideProtocol;
use crate::error::{Error, Result};
use crate::progress::Progress;

/// Where a side's features come from.
enum SideSource {
    /// An `.npz`, which is read.
    File(Box<Side>),
    /// Pictures, which are not.
    Folder(PictureSet),
}

impl SideSource {
    /// Pictures, where their number is known; some of a folder may turn out not to be readable.
    fn n(&self) -> Option<usize> {
        match self {
            Self::File(side) => side.n(),
            Self::Folder(set) => Some(set.files()),
        }
    }
}

/// Both sides, and the extractor if one has pictures.
pub(super) struct Sources {
    name: ExtractorName,
    extractor: Option<Box<dyn Extractor>>,
    generated: SideSource,
    reference: Option<SideSource>,
}

impl Sources {
    /// Reads weights and files, no picture.
    pub(super) fn open(asked: &Comparison, device: &Device) -> Result<Self> {
        let name = ExtractorName::of(asked);
        let (generated, reference) = (asked.generated.as_path(), asked.reference.as_deref());
        let pictures = [Some(generated), reference].into_iter().flatten().any(|path| !is_npz(path));
        let extractor = if pictures { Some(name.load(asked, device)?) } else { None };
        let open = |path: &Path| {
            if is_npz(path) {
                Side::read(path).map(|side| SideSource::File(Box::new(side)))
            } else {
                PictureSet::open(path).map(SideSource::Folder)
            }
        };
        let generated = match (open(generated)?, asked.shard) {
            (SideSource::Folder(set), Some(shard)) => SideSource::Folder(set.share(shard)?),
            (SideSource::File(_), Some(shard)) => {
                return Err(Error::argument("shard", "a folder of generated pictures", shard));
            }
            (whole, None) => whole,
        };
        Ok(Self { name, extractor, generated, reference: reference.map(open).transpose()? })
    }

    fn protocol(&self, source: &SideSource) -> Result<SideProtocol> {
        match (source, &self.extractor) {
            (SideSource::File(side), _) => Ok(side.protocol.clone()),
            (SideSource::Folder(_), Some(extractor)) => SideProtocol::new(extractor.protocol()),
            (SideSource::Folder(_), None) => Ok(SideProtocol::default()),
        }
    }

    fn dimension(&self, source: &SideSource) -> Option<usize> {
        match source {
            SideSource::File(side) => Some(side.dimension()),
            SideSource::Folder(_) => self.extractor.as_ref().map(|extractor| extractor.dimension()),
        }
    }

    /// What names of metrics end in: as the sides say, or the extractor if they do not.
    pub(super) fn suffix(&self) -> String {
        let of = |source: &SideSource| self.protocol(source).unwrap_or_default();
        let reference = self.reference.as_ref().map(of);
        let said = SideProtocol::suffix(&of(&self.generated), reference.as_ref());
        said.unwrap_or_else(|| self.name.suffix().into())
    }

    /// The metrics asked for, or those that the sides allow, and of these what the sides have too few pictures for, or
    /// lack what it is made of; all others can be measured.
    pub(super) fn plan(&self, asked: &Comparison) -> Result<(Vec<Metric>, Vec<Unmeasurable>)> {
        let settings = asked.settings(&self.suffix());
        sample_size::require_possible(&settings)?;
        let metrics = if asked.metrics.is_empty() { self.defaults(asked)? } else { asked.metrics.clone() };
        let distance = |metric: &Metric| metric.of_sets().is_some_and(|m| m != SetMetric::InceptionScore);
        if metrics.iter().any(distance) {
            self.require_reference(&metrics)?;
            self.require_comparable()?;
        }
        let (generated, reference) = (self.generated.n(), self.reference.as_ref().and_then(SideSource::n));
        let (mut possible, mut unmeasurable) = (Vec::new(), Vec::new());
        for metric in metrics {
            let Some(of_sets) = metric.of_sets() else {
                possible.push(metric);
                continue;
            };
            let measurable = self
                .require_measurable(metric, asked)
                .and_then(|()| sample_size::require(of_sets, generated, reference, &settings));
            match measurable {
                Ok(()) => possible.push(metric),
                Err(reason) => {
                    unmeasurable.push(Unmeasurable::take(of_sets.numbers(&self.suffix()), reason)?);
                }
            }
        }
        Ok((possible, unmeasurable))
    }

    fn defaults(&self, asked: &Comparison) -> Result<Vec<Metric>> {
        if asked.stats_out.is_some() && self.reference.is_none() {
            return Ok(vec![]);
        }
        let all = match self.suffix().as_str() {
            "" => vec![Metric::Fid, Metric::Is, Metric::Kid, Metric::Prdc],
            "-clip" => vec![Metric::FdClip, Metric::IsClip],
            _ => vec![Metric::Fid, Metric::Kid, Metric::Prdc],
        };
        let possible: Vec<Metric> =
            all.iter().copied().filter(|&metric| self.require_measurable(metric, asked).is_ok()).collect();
        if possible.is_empty() {
            self.require_measurable(all[0], asked)?;
        }
        Ok(possible)
    }

    /// Whether the sides have what the metric needs.
    fn require_measurable(&self, metric: Metric, asked: &Comparison) -> Result<()> {
        let Some(of_sets) = metric.of_sets() else { return Ok(()) };
        if matches!(metric, Metric::FdClip | Metric::IsClip) && self.suffix() != "-clip" {
            return Err(Error::argument("extractor", "clip, for fd-clip and is-clip", "another"));
        }
        let score = of_sets == SetMetric::InceptionScore;
        if asked.stream && (score || of_sets.needs_rows()) {
            let expected = "metrics of mean and covariance alone (fid, fd-clip)";
            return Err(Error::argument("stream", expected, of_sets.name()));
        }
        if score {
            let extractor =
                self.extractor.as_ref().filter(|_| matches!(self.generated, SideSource::Folder(_)));
            return match extractor.and_then(|extractor| extractor.classes()) {
                Some(_) => Ok(()),
                None => {
                    let expected = "pictures and an extractor that classifies";
                    Err(Error::data("is", expected, "features without classes"))
                }
            };
        }
        let reference = self.reference.as_ref().ok_or_else(|| without_reference(of_sets))?;
        for source in [&self.generated, reference] {
            if let SideSource::File(side) = source
                && of_sets.needs_rows()
            {
                side.rows(of_sets.name())?;
            }
        }
        Ok(())
    }

    /// Refuses distances without another side: that it was forgotten is nothing about one metric.
    fn require_reference(&self, metrics: &[Metric]) -> Result<()> {
        let distance = |metric: &Metric| metric.of_sets().filter(|m| *m != SetMetric::InceptionScore);
        match metrics.iter().find_map(distance) {
            Some(metric) if self.reference.is_none() => Err(without_reference(metric)),
            _ => Ok(()),
        }
    }

    fn require_comparable(&self) -> Result<()> {
        let Some(reference) = &self.reference else { return Ok(()) };
        self.protocol(&self.generated)?.require_comparable(&self.protocol(reference)?)?;
        let (got, expected) = (self.dimension(&self.generated), self.dimension(reference));
        match got.zip(expected).filter(|(got, expected)| got != expected) {
            Some((got, expected)) => {
                let expected = format!("dimension {expected}, as the reference side");
                Err(Error::shape("features of the generated side", expected, got))
            }
            None => Ok(()),
        }
    }

    /// Reads the pictures. The reference is left out where no metric needs it.
    pub(super) fn extract(
        self,
        metrics: &[SetMetric],
        asked: &Comparison,
        progress: &dyn Progress,
    ) -> Result<(Side, Option<Side>)> {
        let of_rows = |metric: &SetMetric| metric.needs_rows() || *metric == SetMetric::Frechet;
        let keep = Keep {
            rows: asked.shard.is_some() || !asked.stream && metrics.iter().any(of_rows),
            logits: metrics.contains(&SetMetric::InceptionScore),
        };
        let Self { extractor, generated, reference, .. } = self;
        let side = |name: &str, source: SideSource| match (source, extractor.as_deref()) {
            (SideSource::File(side), _) => Ok(*side),
            (SideSource::Folder(set), Some(extractor)) => {
                progress.begin(name, 0, set.files());
                let mut done = 0;
                let step = &mut |more| {
                    done += more;
                    progress.step(done, "");
                };
                let side = Side::of_pictures(&set, extractor, asked.batch, asked.skip_broken, keep, step);
                progress.end(name);
                side
            }
            (SideSource::Folder(_), None) => Err(Error::argument("extractor", "one, for pictures", "none")),
        };
        let distance = metrics.iter().any(|metric| *metric != SetMetric::InceptionScore);
        let generated = side("generated", generated)?;
        let reference = reference.filter(|_| distance).map(|source| side("reference", source)).transpose()?;
        Ok((generated, reference))
    }
}

fn without_reference(metric: SetMetric) -> Error {
    Error::data("reference", format!("the other side of {}", metric.name()), "none")
}

/// Whether a side is a file of features or statistics.
pub(super) fn is_npz(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "npz")
}
