//! What people chose between pictures of two models, and how sure that is.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};
use serde::Serialize;

use super::rows::Row;
use crate::jobs::now;

/// How often a model was chosen where it was one of the two.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tally {
    /// By name.
    pub model: String,
    /// How often.
    pub wins: u64,
    /// Of so many choices; those of neither count half to each.
    pub of: u64,
    /// Wilson's interval of the share, 95 %.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// `chosen`: `left`, `right` or `neither`.
pub(super) fn add(database: &Connection, left: &Row, right: &Row, chosen: &str) -> rusqlite::Result<()> {
    database.execute(
        "INSERT INTO choices (created, left_picture, right_picture, left_model, right_model, chosen)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![now(), left.id, right.id, left.model, right.model, chosen],
    )?;
    Ok(())
}

/// Of every model that was compared with another.
pub(super) fn tally(database: &Connection) -> rusqlite::Result<Vec<Tally>> {
    let mut statement = database.prepare("SELECT left_model, right_model, chosen FROM choices")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let rows: Vec<(String, String, String)> = rows.collect::<rusqlite::Result<_>>()?;
    let mut counts: BTreeMap<String, (f64, u64)> = BTreeMap::new();
    for (left, right, chosen) in rows.into_iter().filter(|(left, right, _)| left != right) {
        let share = match chosen.as_str() {
            "left" => 1.0,
            "right" => 0.0,
            _ => 0.5,
        };
        for (model, won) in [(left, share), (right, 1.0 - share)] {
            let (wins, of) = counts.entry(model).or_default();
            *wins += won;
            *of += 1;
        }
    }
    let tallies = counts.into_iter().map(|(model, (wins, of))| {
        let (low, high) = wilson(wins, of as f64);
        Tally { model, wins: wins as u64, of, low, high }
    });
    Ok(tallies.collect())
}

/// Wilson 1927: the interval of a share, `wins` of `n`, at 95 %.
fn wilson(wins: f64, n: f64) -> (f64, f64) {
    const Z: f64 = 1.959_963_984_540_054;
    let (share, z2) = (wins / n, Z * Z);
    let centre = (share + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z / (1.0 + z2 / n) * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
    ((centre - half).max(0.0), (centre + half).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilsons_interval_is_the_known_one() {
        // Newcombe 1998, Table I: 81 of 263, and 15 of 148.
        for (wins, n, low, high) in [(81.0, 263.0, 0.2553, 0.3662), (15.0, 148.0, 0.0624, 0.1605)] {
            let (got_low, got_high) = wilson(wins, n);
            assert!((got_low - low).abs() < 5e-5 && (got_high - high).abs() < 5e-5, "{got_low} {got_high}");
        }
    }
}
