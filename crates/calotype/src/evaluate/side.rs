//! One side of a comparison of two sets: features of pictures, or statistics from a file.

use std::path::Path;

use serde_json::Value;

use super::extractor::Extractor;
use super::features::Features;
use super::frechet::{FeatureStatistics, Gaussian};
use super::picture_set::{PictureSet, SetFacts};
use crate::error::{Error, Result};
use crate::formats::npz::{self, Array, Npz};

/// Entry of our statistics files that says how they were made.
const PROTOCOL: &str = "protocol.json";

/// The generated or the reference side.
pub struct Side {
    /// Rows, unless only statistics are known.
    pub features: Option<Features>,
    /// Class logits `[n, classes]` and the number of classes, where the extractor gives them.
    pub logits: Option<(Vec<f32>, usize)>,
    /// Mean and scatter, unless a file has moments without their n.
    statistics: Option<FeatureStatistics>,
    /// Moments whose n is not known.
    moments: Option<Gaussian>,
    /// What the folder holds, where there was one.
    pub facts: Option<SetFacts>,
    /// How the numbers were made ([`Extractor::protocol`]); null for files of other programs.
    pub protocol: Value,
}

impl Side {
    /// Features of a folder's pictures, `batch` at a time: the pictures are never in memory together.
    /// `on_pictures` is told how many more are done.
    ///
    /// # Errors
    /// As [`PictureSet::for_each_batch`] and [`Extractor::extract`]; `Error::Argument` for a feature that
    /// is not finite.
    pub fn of_pictures(
        set: &PictureSet,
        extractor: &dyn Extractor,
        batch: usize,
        skip_broken: bool,
        on_pictures: &mut dyn FnMut(usize),
    ) -> Result<Self> {
        let (mut rows, mut logits) = (Vec::new(), extractor.classes().map(|classes| (Vec::new(), classes)));
        let facts = set.for_each_batch(batch, skip_broken, |pictures| {
            let extracted = extractor.extract(&pictures)?;
            rows.extend(extracted.features);
            if let (Some((all, _)), Some(more)) = (&mut logits, extracted.logits) {
                all.extend(more);
            }
            on_pictures(pictures.len());
            Ok(())
        })?;
        let side = Self::of_rows(&rows, extractor.dimension())?;
        Ok(Self { logits, facts: Some(facts), protocol: extractor.protocol(), ..side })
    }

    /// Features as they are.
    ///
    /// # Errors
    /// As [`Features::new`].
    pub fn of_rows(rows: &[f32], dimension: usize) -> Result<Self> {
        let features = Features::new(rows, dimension)?;
        Ok(Self {
            features: Some(features),
            logits: None,
            statistics: None,
            moments: None,
            facts: None,
            protocol: Value::Null,
        })
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
        let empty =
            Self { features: None, logits: None, statistics: None, moments: None, facts: None, protocol };
        if let Some(Array { shape, values }) = arrays.get("features") {
            let [_, dimension] = shape[..] else {
                return Err(foreign(format!("`features` has shape {shape:?}, not [n, d]")));
            };
            return Ok(Self { features: Some(Features::new(values, dimension)?), ..empty });
        }
        let (Some(mu), Some(sigma)) = (arrays.get("mu"), arrays.get("sigma")) else {
            let names: Vec<&str> = arrays.keys().map(String::as_str).collect();
            let got = format!("it has {}; needed: features, or mu and sigma", names.join(", "));
            return Err(foreign(got));
        };
        Ok(match arrays.get("n").and_then(|n| n.values.first()) {
            Some(&n) => {
                let statistics = FeatureStatistics::from_moments(n as usize, &mu.values, &sigma.values)?;
                Self { statistics: Some(statistics), ..empty }
            }
            None => Self { moments: Some(Gaussian::from_moments(&mu.values, &sigma.values)?), ..empty },
        })
    }

    /// Writes `mu`, `sigma` and `n` as `.npz`, which pytorch-fid and clean-fid read, with the protocol.
    ///
    /// # Errors
    /// `Error::Argument` for moments whose n is not known; as [`npz::write`].
    pub fn write_statistics(&self, path: &Path) -> Result<()> {
        let statistics = self.statistics()?;
        let d = statistics.dimension();
        let mut npz = Npz::default();
        npz.arrays.insert("mu".into(), Array::new(&[d], statistics.mean().to_vec()));
        npz.arrays.insert("sigma".into(), Array::new(&[d, d], statistics.covariance()?));
        npz.arrays.insert("n".into(), Array::new(&[], vec![statistics.n() as f64]));
        npz.texts.insert(PROTOCOL.into(), self.protocol.to_string());
        npz::write(path, &npz)
    }

    /// Both sides as one, of which only the statistics are kept.
    ///
    /// # Errors
    /// As [`FeatureStatistics::merge`]; `Error::Argument` for sides of different protocols or without n.
    pub fn merge(&self, other: &Self) -> Result<Self> {
        self.require_same_protocol(other)?;
        let mut statistics = self.statistics()?;
        statistics.merge(&other.statistics()?)?;
        Ok(Self {
            features: None,
            logits: None,
            statistics: Some(statistics),
            moments: None,
            facts: None,
            protocol: self.protocol.clone(),
        })
    }

    /// Refuses sides whose numbers were made in different ways, as far as both say how.
    ///
    /// # Errors
    /// `Error::Argument` naming the first thing that differs.
    pub fn require_same_protocol(&self, reference: &Self) -> Result<()> {
        let (Value::Object(ours), Value::Object(theirs)) = (&self.protocol, &reference.protocol) else {
            return Ok(());
        };
        for (key, value) in ours {
            if theirs.get(key) != Some(value) {
                let got = theirs.get(key).unwrap_or(&Value::Null);
                let expected = format!("the same {key} on both sides, {value}");
                return Err(Error::argument("protocol", expected, got));
            }
        }
        Ok(())
    }

    /// Number of pictures, where known.
    pub fn n(&self) -> Option<usize> {
        let of_features = self.features.as_ref().map(Features::n);
        of_features.or(self.statistics.as_ref().map(FeatureStatistics::n))
    }

    /// Mean and scatter.
    ///
    /// # Errors
    /// `Error::Argument` for moments whose n is not known.
    pub fn statistics(&self) -> Result<FeatureStatistics> {
        match (&self.statistics, &self.features) {
            (Some(statistics), _) => Ok(statistics.clone()),
            (None, Some(features)) => {
                let mut statistics = FeatureStatistics::new(features.dimension());
                statistics.push_rows(features.values())?;
                Ok(statistics)
            }
            (None, None) => Err(Error::argument(
                "statistics",
                "a file that says of how many pictures (n)",
                "mu and sigma",
            )),
        }
    }

    /// The normal distribution with the features' moments; of low rank where n ≤ d.
    ///
    /// # Errors
    /// As [`Gaussian::from_rows`].
    pub fn gaussian(&self) -> Result<Gaussian> {
        match (&self.features, &self.moments) {
            (Some(features), _) => Gaussian::from_rows(features.values(), features.dimension()),
            (None, Some(moments)) => Ok(moments.clone()),
            (None, None) => self.statistics()?.gaussian(),
        }
    }

    /// The rows, for metrics that need more than moments.
    ///
    /// # Errors
    /// `Error::Argument` where only statistics are known.
    pub fn rows(&self, metric: &str) -> Result<&Features> {
        self.features.as_ref().ok_or_else(|| {
            Error::argument(metric, "pictures or `features` on both sides", "statistics (mu and sigma) only")
        })
    }
}
