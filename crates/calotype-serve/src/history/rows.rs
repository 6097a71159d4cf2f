//! The table of pictures.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Value, json};

use crate::jobs::maps::Maps;

/// What is known of a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Order of their making.
    pub number: i64,
    /// `p-` and sixteen digits.
    pub id: String,
    /// Seconds since 1970.
    pub created: f64,
    /// By name.
    pub model: String,
    /// What it shows.
    pub prompt: String,
    /// What it should not.
    pub negative: Option<String>,
    /// Every setting, in snake_case.
    pub request: Value,
    /// In pixels.
    pub width: u32,
    /// Likewise.
    pub height: u32,
    /// Of its noise.
    pub seed: u64,
    /// Its number under the seed.
    pub index: u64,
    /// What its job had taken.
    pub seconds: f64,
    /// That made it.
    pub job: String,
    /// The picture that was edited.
    pub parent: Option<String>,
    /// Steps of its strip.
    pub steps: usize,
    /// What its maps' bytes mean.
    pub maps: Option<Maps>,
    /// Of all its files.
    pub bytes: u64,
}

impl Row {
    /// As the API shows it.
    pub fn json(&self) -> Value {
        let id = &self.id;
        json!({
            "id": id, "created": self.created, "model": self.model, "prompt": self.prompt,
            "negative": self.negative, "request": self.request, "width": self.width, "height": self.height,
            "seed": self.seed, "index": self.index, "seconds": self.seconds,
            "image": format!("/api/pictures/{id}.png"), "thumbnail": format!("/api/pictures/{id}/thumbnail.png"),
            "word_maps": self.maps.is_some(), "steps_kept": self.steps, "job": self.job, "parent": self.parent,
        })
    }
}

const COLUMNS: &str = "number, id, created, model, prompt, negative, request, width, height, seed, place, seconds, job, \
                       parent, steps, maps, bytes";

/// Opens the database, with its tables.
pub(super) fn open(path: &Path) -> rusqlite::Result<Connection> {
    let database = Connection::open(path)?;
    // A killed process loses nothing that was committed; only a power cut may take the last row.
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "NORMAL")?;
    database.execute_batch(
        "CREATE TABLE IF NOT EXISTS pictures (
            number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, created REAL NOT NULL,
            model TEXT NOT NULL, prompt TEXT NOT NULL, negative TEXT, request TEXT NOT NULL,
            width INTEGER NOT NULL, height INTEGER NOT NULL, seed TEXT NOT NULL, place TEXT NOT NULL,
            seconds REAL NOT NULL, job TEXT NOT NULL, parent TEXT, steps INTEGER NOT NULL, maps TEXT,
            bytes INTEGER NOT NULL);
         CREATE TABLE IF NOT EXISTS choices (
            number INTEGER PRIMARY KEY AUTOINCREMENT, created REAL NOT NULL,
            left_picture TEXT NOT NULL, right_picture TEXT NOT NULL,
            left_model TEXT NOT NULL, right_model TEXT NOT NULL, chosen TEXT NOT NULL);",
    )?;
    Ok(database)
}

pub(super) fn insert(database: &Connection, row: &Row) -> rusqlite::Result<()> {
    let maps = row.maps.as_ref().map(|maps| json!(maps).to_string());
    database
        .prepare_cached(
            "INSERT INTO pictures (id, created, model, prompt, negative, request, width, height, seed, place, seconds,
                job, parent, steps, maps, bytes)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
        )?
        .execute(params![
            row.id,
            row.created,
            row.model,
            row.prompt,
            row.negative,
            row.request.to_string(),
            row.width,
            row.height,
            row.seed.to_string(),
            row.index.to_string(),
            row.seconds,
            row.job,
            row.parent,
            row.steps,
            maps,
            row.bytes as i64,
        ])?;
    Ok(())
}

/// The newest first.
pub(super) fn list(
    database: &Connection,
    limit: usize,
    before: Option<i64>,
    prompt: Option<&str>,
) -> rusqlite::Result<Vec<Row>> {
    let text = format!(
        "SELECT {COLUMNS} FROM pictures
         WHERE number < ?1 AND (?2 IS NULL OR instr(lower(prompt), lower(?2)) > 0)
         ORDER BY number DESC LIMIT ?3"
    );
    let mut statement = database.prepare_cached(&text)?;
    let rows = statement.query_map(params![before.unwrap_or(i64::MAX), prompt, limit], read)?;
    rows.collect()
}

pub(super) fn get(database: &Connection, id: &str) -> rusqlite::Result<Option<Row>> {
    let text = format!("SELECT {COLUMNS} FROM pictures WHERE id = ?1");
    database.prepare_cached(&text)?.query_row([id], read).optional()
}

/// Of all.
pub(super) fn ids(database: &Connection) -> rusqlite::Result<BTreeSet<String>> {
    let mut statement = database.prepare("SELECT id FROM pictures")?;
    statement.query_map([], |row| row.get(0))?.collect()
}

/// How many there are, and their bytes.
pub(super) fn size(database: &Connection) -> rusqlite::Result<(usize, u64)> {
    let text = "SELECT count(*), coalesce(sum(bytes), 0) FROM pictures";
    database.prepare_cached(text)?.query_row([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64)))
}

pub(super) fn oldest(database: &Connection) -> rusqlite::Result<Option<String>> {
    let text = "SELECT id FROM pictures ORDER BY number LIMIT 1";
    database.prepare_cached(text)?.query_row([], |row| row.get(0)).optional()
}

fn read(row: &rusqlite::Row) -> rusqlite::Result<Row> {
    let request: String = row.get(6)?;
    let seed: String = row.get(9)?;
    let index: String = row.get(10)?;
    let maps: Option<String> = row.get(15)?;
    Ok(Row {
        number: row.get(0)?,
        id: row.get(1)?,
        created: row.get(2)?,
        model: row.get(3)?,
        prompt: row.get(4)?,
        negative: row.get(5)?,
        // Both were written above.
        request: serde_json::from_str(&request).unwrap_or_default(),
        width: row.get(7)?,
        height: row.get(8)?,
        seed: seed.parse().unwrap_or_default(),
        index: index.parse().unwrap_or_default(),
        seconds: row.get(11)?,
        job: row.get(12)?,
        parent: row.get(13)?,
        steps: row.get(14)?,
        maps: maps.and_then(|maps| serde_json::from_str(&maps).ok()),
        bytes: row.get::<_, i64>(16)? as u64,
    })
}
