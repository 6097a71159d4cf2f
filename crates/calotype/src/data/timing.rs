//! How fast pictures become batches.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use burn::tensor::Device;
use image::RgbImage;
use serde::Serialize;

use super::collection::CaptionNeed;
use super::loader::prepared_ahead;
use super::open::{Faulty, open};
use super::parquet::Columns;
use super::pictures::{CollectionPictures, Pictures};
use super::source::TrainingSet;
use super::tensors::to_tensor;
use super::transform::Transform;
use crate::error::{Error, Result};

/// What is timed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loading {
    /// Image folder, shards, parquet files, as [`open`] takes them.
    pub data: Vec<String>,
    /// Which columns of parquet files are meant.
    pub columns: Columns,
    /// Side of the training pictures in pixels.
    pub size: u32,
    /// Pictures in a batch, at least 1.
    pub batch: usize,
    /// Threads that prepare batches; 0 prepares each when it is asked for.
    pub workers: usize,
    /// Passes over all pictures, at least 1.
    pub passes: usize,
    /// Folder for downloads and copies.
    pub cache: PathBuf,
}

/// How fast it was.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LoadingRate {
    /// Pictures of a pass.
    pub pictures: usize,
    /// Lines that say what of the data is not used: faults, files of held-out splits, pictures of kinds that are not read.
    pub left_out: usize,
    /// As asked.
    pub workers: usize,
    /// As asked.
    pub batch: usize,
    /// As asked.
    pub size: u32,
    /// Of each pass.
    pub pictures_per_second: Vec<f64>,
    /// Of the passes.
    pub median: f64,
}

impl Loading {
    /// Decodes, resizes, crops and flips every picture, and makes tensors of batches.
    ///
    /// # Errors
    /// `Error::Argument` for no batch or pass; those of the data.
    pub fn time(&self, device: &Device) -> Result<LoadingRate> {
        for (name, value) in [("batch", self.batch), ("passes", self.passes)] {
            if value == 0 {
                return Err(Error::argument(name, "at least 1", 0));
            }
        }
        let pictures = Arc::new(CollectionPictures(open(
            &self.data,
            CaptionNeed::Optional,
            Faulty::LeftOut,
            &self.columns,
            &self.cache,
        )?));
        let left_out = pictures.left_out().len();
        let transform = Transform { flip: true, ..Transform::default() };
        let set = TrainingSet::new(pictures, None, 0, self.size, transform)?;
        let count = set.count().unwrap_or(0);
        let mut rates = Vec::new();
        for pass in 0..self.passes {
            let started = Instant::now();
            self.one_pass(&set, (pass * count) as u64, count, device)?;
            rates.push(count as f64 / started.elapsed().as_secs_f64());
        }
        let mut sorted = rates.clone();
        sorted.sort_by(f64::total_cmp);
        Ok(LoadingRate {
            pictures: count,
            left_out,
            workers: self.workers,
            batch: self.batch,
            size: self.size,
            median: sorted[sorted.len() / 2],
            pictures_per_second: rates,
        })
    }

    fn one_pass(&self, set: &TrainingSet, first: u64, count: usize, device: &Device) -> Result<()> {
        let prepare = |step: usize| -> Result<Vec<RgbImage>> {
            let end = ((step + 1) * self.batch).min(count);
            (step * self.batch..end).map(|n| Ok(set.item(first + n as u64)?.image)).collect()
        };
        let steps = count.div_ceil(self.batch);
        prepared_ahead(self.workers, 0..steps, prepare, |next| {
            for step in 0..steps {
                to_tensor(&next(step)?, device)?;
            }
            Ok(())
        })
    }
}
