//! One side of a comparison of two sets: features of pictures, or statistics from a file.

use std::path::Path;

use serde_json::Value;

use super::extractor::Extractor;
use super::feature_statistics::FeatureStatistics;
use super::features::Features;
use super::gaussian::Gaussian;
use super::picture_set::{PictureSet, SetFacts};
use super::side_protocol::SideProtocol;
use crate::error::{Error, Result};
use crate::files::npz::{self, Array, Npz};

/// Entry of our statistics files that says how they were made.
const PROTOCOL: &str = "protocol.json";

/// Rows that are gathered before they go into the statistics: one number of them, so that the bits do not
/// depend on how many pictures are extracted at a time.
const ROWS: usize = 256;

/// What is kept of every picture. Mean and covariance of the features always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Its features; without them memory does not grow with the number of pictures.
    pub rows: bool,
    /// Its class logits, where the extractor has classes.
    pub logits: bool,
}

/// Features, as much of them as is known.
enum Known {
    /// Every picture's.
    Rows(Features),
    /// Their mean and scatter.
    Statistics(FeatureStatistics),
    /// Moments whose n is not known.
    Moments(Gaussian),
}

/// The generated or the reference side.
pub struct Side {
    known: Known,
    /// Class logits `[n, classes]` and the number of classes, where they were kept.
    pub logits: Option<(Vec<f32>, usize)>,
    /// What the folder holds, where there was one.
    pub facts: Option<SetFacts>,
    /// How the numbers were made.
    pub protocol: SideProtocol,
}

impl Side {
    /// Features of a folder's pictures, `batch` at a time: the pictures are never in memory together, and
    /// their features only if `keep` says so. `on_pictures` is told how many more are done.
    ///
    /// # Errors
    /// As [`PictureSet::for_each_batch`] and [`Extractor::extract`]; `Error::Data` for a feature that
    /// is not finite.
    pub fn of_pictures(
        set: &PictureSet,
        extractor: &dyn Extractor,
        batch: usize,
        skip_broken: bool,
        keep: Keep,
        on_pictures: &mut dyn FnMut(usize),
    ) -> Result<Self> {
        let dimension = extractor.dimension();
        let (mut rows, mut statistics) = (Vec::new(), FeatureStatistics::new(dimension));
        let classes = extractor.classes().filter(|_| keep.logits);
        let mut logits = classes.map(|classes| (Vec::new(), classes));
        let facts = set.for_each_batch(batch, skip_broken, |pictures| {
            let extracted = extractor.extract(&pictures)?;
            rows.extend(extracted.features);
            while !keep.rows && rows.len() >= ROWS * dimension {
                statistics.push_rows(&rows[..ROWS * dimension])?;
                rows.drain(..ROWS * dimension);
            }
            if let (Some((all, _)), Some(more)) = (&mut logits, extracted.logits) {
                all.extend(more);
            }
            on_pictures(pictures.len());
            Ok(())
        })?;
        let known = if keep.rows {
            Known::Rows(Features::new(&rows, dimension)?)
        } else {
            statistics.push_rows(&rows)?;
            Known::Statistics(statistics)
        };
        Ok(Self { known, logits, facts: Some(facts), protocol: SideProtocol::new(extractor.protocol())? })
    }

    /// From an `.npz` with `features` `[n, d]`, or with `mu` and `sigma` and perhaps `n`.
    ///
    /// # Errors
    /// As [`npz::read`], [`Features::new`] and [`Gaussian::from_moments`]; `Error::Format` for an archive
    /// without these arrays.
    pub fn read(path: &Path) -> Result<Self> {
        let Npz { arrays, texts } = npz::read(path)?;
        let foreign = |reason: String| Error::format(path, "feature statistics", reason);
        let protocol = match texts.get(PROTOCOL) {
            Some(text) => serde_json::from_str(text).map_err(|e| foreign(e.to_string()))?,
            None => Value::Null,
        };
        let known = match (arrays.get("features"), arrays.get("mu"), arrays.get("sigma")) {
            (Some(Array { shape, values }), ..) => match shape[..] {
                [_, dimension] => Known::Rows(Features::new(values, dimension)?),
                _ => return Err(foreign(format!("`features` has shape {shape:?}, not [n, d]"))),
            },
            (None, Some(mu), Some(sigma)) => match arrays.get("n").and_then(|n| n.values.first()) {
                Some(&n) => {
                    Known::Statistics(FeatureStatistics::from_moments(n as usize, &mu.values, &sigma.values)?)
                }
                None => Known::Moments(Gaussian::from_moments(&mu.values, &sigma.values)?),
            },
            _ => {
                let names: Vec<&str> = arrays.keys().map(String::as_str).collect();
                let got = format!("it has {}; needed: features, or mu and sigma", names.join(", "));
                return Err(foreign(got));
            }
        };
        let protocol = SideProtocol::new(protocol).map_err(|e| foreign(format!("{PROTOCOL}: {e}")))?;
        Ok(Self { known, logits: None, facts: None, protocol })
    }

    /// Writes `mu`, `sigma` and `n` as `.npz`, which pytorch-fid and clean-fid read, with the protocol.
    ///
    /// # Errors
    /// `Error::Data` for moments whose n is not known; as [`npz::write`].
    pub fn write_statistics(&self, path: &Path) -> Result<()> {
        self.write(path, self.moments()?)
    }

    /// Mean, covariance and number.
    fn moments(&self) -> Result<Npz> {
        let statistics = self.statistics()?;
        let d = statistics.dimension();
        let mut npz = Npz::default();
        npz.arrays.insert("mu".into(), Array::new(&[d], statistics.mean().to_vec()));
        npz.arrays.insert("sigma".into(), Array::new(&[d, d], statistics.covariance()?));
        npz.arrays.insert("n".into(), Array::new(&[], vec![statistics.n() as f64]));
        Ok(npz)
    }

    /// With the protocol.
    fn write(&self, path: &Path, mut npz: Npz) -> Result<()> {
        if self.protocol.is_known() {
            npz.texts.insert(PROTOCOL.into(), self.protocol.to_json().to_string());
        }
        npz::write(path, &npz)
    }

    /// Writes `features` as `.npz`, and of two pictures or more what [`write_statistics`](Self::write_statistics) does: of a
    /// share of a set, so that those of all shares are the set's.
    ///
    /// # Errors
    /// `Error::Data` where only statistics are known; as [`npz::write`].
    pub fn write_features(&self, path: &Path) -> Result<()> {
        let features = self.rows("features")?;
        let mut npz = if features.n() > 1 { self.moments()? } else { Npz::default() };
        let shape = [features.n(), features.dimension()];
        npz.arrays.insert("features".into(), Array::new(&shape, features.values().to_vec()));
        self.write(path, npz)
    }

    /// Both sides as one, of which only the statistics are kept where not both have their features.
    ///
    /// # Errors
    /// As [`FeatureStatistics::merge`] and [`SideProtocol::require_same`]; `Error::Data` for sides
    /// without n.
    pub fn merge(&self, other: &Self) -> Result<Self> {
        self.protocol.require_same(&other.protocol)?;
        let known = match (&self.known, &other.known) {
            (Known::Rows(own), Known::Rows(more)) if own.dimension() == more.dimension() => {
                let all = [own.values(), more.values()].concat();
                Known::Rows(Features::new(&all, own.dimension())?)
            }
            _ => {
                let mut statistics = self.statistics()?;
                statistics.merge(&other.statistics()?)?;
                Known::Statistics(statistics)
            }
        };
        Ok(Self { known, logits: None, facts: None, protocol: self.protocol.clone() })
    }

    /// Number of pictures, where known.
    pub fn n(&self) -> Option<usize> {
        match &self.known {
            Known::Rows(features) => Some(features.n()),
            Known::Statistics(statistics) => Some(statistics.n()),
            Known::Moments(_) => None,
        }
    }

    /// Numbers in a feature vector.
    pub fn dimension(&self) -> usize {
        match &self.known {
            Known::Rows(features) => features.dimension(),
            Known::Statistics(statistics) => statistics.dimension(),
            Known::Moments(gaussian) => gaussian.mean().len(),
        }
    }

    /// Mean and scatter.
    ///
    /// # Errors
    /// `Error::Data` for moments whose n is not known.
    pub fn statistics(&self) -> Result<FeatureStatistics> {
        match &self.known {
            Known::Statistics(statistics) => Ok(statistics.clone()),
            Known::Rows(features) => {
                let mut statistics = FeatureStatistics::new(features.dimension());
                for rows in features.values().chunks(ROWS * features.dimension()) {
                    statistics.push_rows(rows)?;
                }
                Ok(statistics)
            }
            Known::Moments(_) => {
                Err(Error::data("statistics", "a file that says of how many pictures (n)", "mu and sigma"))
            }
        }
    }

    /// The normal distribution with the features' moments; of low rank where n ≤ d.
    ///
    /// # Errors
    /// As [`Gaussian::from_rows`].
    pub fn gaussian(&self) -> Result<Gaussian> {
        match &self.known {
            Known::Rows(features) => Gaussian::from_rows(features.values(), features.dimension()),
            Known::Statistics(statistics) => statistics.gaussian(),
            Known::Moments(moments) => Ok(moments.clone()),
        }
    }

    /// Every picture's features, if they are known.
    pub fn features(&self) -> Option<&Features> {
        match &self.known {
            Known::Rows(features) => Some(features),
            Known::Statistics(_) | Known::Moments(_) => None,
        }
    }

    /// The rows, for metrics that need more than moments.
    ///
    /// # Errors
    /// `Error::Data` where only statistics are known.
    pub fn rows(&self, metric: &str) -> Result<&Features> {
        self.features().ok_or_else(|| {
            Error::data(metric, "pictures or `features` on both sides", "statistics (mu and sigma) only")
        })
    }
}
