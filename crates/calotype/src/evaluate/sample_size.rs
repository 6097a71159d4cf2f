//! How many pictures each metric of sets needs: known from the lists of files, before the first picture is read.

use super::set_metrics::{MetricSettings, SetMetric};
use crate::error::{Error, Result};

/// The smallest of FID∞'s growing parts, a half of the generated side, has two pictures.
const FEWEST_OF_INFINITY: usize = 4;

/// Whether `metric` can be had of so many pictures on each side; `None`: not known.
///
/// # Errors
/// `Error::Data` for too few.
pub(super) fn require(
    metric: SetMetric,
    generated: Option<usize>,
    reference: Option<usize>,
    settings: &MetricSettings,
) -> Result<()> {
    let fewest = generated.into_iter().chain(reference).min().unwrap_or(usize::MAX);
    match metric {
        SetMetric::InceptionScore => match generated {
            Some(n) if settings.splits > n => {
                Err(Error::data("splits", format!("1 to the number of images, {n}"), settings.splits))
            }
            _ => Ok(()),
        },
        SetMetric::Prdc if settings.k >= fewest => {
            let expected = format!("1 to below {fewest}, the points of the smaller set");
            Err(Error::data("k", expected, settings.k))
        }
        SetMetric::FrechetInfinity if generated.is_some_and(|n| n < FEWEST_OF_INFINITY) => {
            let expected = format!("at least {FEWEST_OF_INFINITY} pictures for fid-infinity");
            Err(Error::data("generated", expected, generated.unwrap_or(0)))
        }
        _ if fewest < 2 => {
            let expected = format!("at least 2 pictures on each side for {}", metric.name());
            Err(Error::data("features", expected, fewest))
        }
        _ => Ok(()),
    }
}

/// Refuses settings that no number of pictures fits.
///
/// # Errors
/// `Error::Argument`.
pub(super) fn require_possible(settings: &MetricSettings) -> Result<()> {
    for (name, least, value) in [
        ("splits", 1, settings.splits),
        ("kid_subsets", 1, settings.kid_subsets),
        ("kid_subset_size", 2, settings.kid_subset_size),
        ("k", 1, settings.k),
    ] {
        if value < least {
            return Err(Error::argument(name, format!("at least {least}"), value));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_metric_says_what_it_lacks() {
        let settings = MetricSettings::default();
        let reason = |metric, generated, reference| {
            require(metric, generated, reference, &settings).err().map(|error| error.to_string())
        };
        let splits = reason(SetMetric::InceptionScore, Some(5), None);
        assert_eq!(splits.unwrap(), "splits: expected 1 to the number of images, 5, got 10");
        assert_eq!(reason(SetMetric::InceptionScore, Some(10), Some(2)), None);
        let k = reason(SetMetric::Prdc, Some(50), Some(3));
        assert_eq!(k.unwrap(), "k: expected 1 to below 3, the points of the smaller set, got 3");
        assert_eq!(reason(SetMetric::Prdc, Some(4), Some(4)), None);
        assert!(reason(SetMetric::FrechetInfinity, Some(3), Some(50)).unwrap().contains("fid-infinity"));
        assert_eq!(reason(SetMetric::FrechetInfinity, Some(4), Some(2)), None);
        for metric in [SetMetric::Frechet, SetMetric::Kid, SetMetric::Cmmd] {
            assert_eq!(reason(metric, Some(2), Some(2)), None);
            assert_eq!(reason(metric, None, None), None, "moments whose n is not known");
            assert!(reason(metric, Some(2), Some(1)).unwrap().contains(metric.name()));
        }
    }

    #[test]
    fn settings_that_fit_no_set_are_refused() {
        require_possible(&MetricSettings::default()).unwrap();
        for (settings, name) in [
            (MetricSettings { splits: 0, ..MetricSettings::default() }, "splits"),
            (MetricSettings { kid_subsets: 0, ..MetricSettings::default() }, "kid_subsets"),
            (MetricSettings { kid_subset_size: 1, ..MetricSettings::default() }, "kid_subset_size"),
            (MetricSettings { k: 0, ..MetricSettings::default() }, "k"),
        ] {
            let error = require_possible(&settings).unwrap_err();
            assert!(error.to_string().starts_with(&format!("{name}: ")), "{error}");
        }
    }
}
