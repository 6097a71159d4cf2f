//! `POST /api/data/inspect`: what a training would see of a folder, and what is wrong with it.

use axum::body::Body;
use axum::extract::State;
use axum::http::Response;
use calotype::data::collection::{CaptionNeed, Collection};
use calotype::data::inspection::inspect;
use calotype::data::open::{Faulty, open};
use calotype::data::parquet::Columns;
use calotype::data::picture;
use serde::Deserialize;
use serde_json::{Value, json};

use super::aside;
use crate::answer::{self, Json};
use crate::app::{App, Shared};
use crate::given::{encoded, png};
use crate::jobs::thumbnail_of;
use crate::problem::Answer;
use crate::tasks::data_folder;

/// Pictures that are shown, spread over all.
const SHOWN: usize = 24;
/// Longest side of a shown picture.
const SIDE: u32 = 128;
/// Faults that are told.
const MOST_FAULTS: usize = 500;

/// Which folder, below the folder of data.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    data: String,
}

/// `POST /api/data/inspect`.
pub async fn look(State(app): State<Shared>, Json(Asked { data }): Json<Asked>) -> Answer<Response<Body>> {
    Ok(answer::json(&aside(move || inspected(&app, &data)).await?))
}

fn inspected(app: &App, name: &str) -> Answer<Value> {
    let folder = data_folder(app, name)?;
    let names = [folder.display().to_string()];
    // Nothing is downloaded: a folder has no addresses.
    let collection = open(&names, CaptionNeed::Optional, Faulty::LeftOut, &Columns::default(), &folder)?;
    let found = inspect(collection.as_ref(), app.config.threads, &|_| {});
    let mut faults: Vec<String> = found.faults.iter().map(|fault| fault.to_string()).collect();
    faults.extend(found.problems());
    faults.truncate(MOST_FAULTS);
    let every = collection.len().div_ceil(SHOWN).max(1);
    let samples: Vec<Value> =
        (0..collection.len()).step_by(every).filter_map(|i| sample(collection.as_ref(), i)).collect();
    Ok(
        json!({ "pictures": found.count, "faults": faults, "samples": samples, "left_out": collection.left_out() }),
    )
}

/// A picture with its caption; nothing where it cannot be read, which is among the faults.
fn sample(collection: &dyn Collection, i: usize) -> Option<Value> {
    let pixels = picture::decode(&collection.bytes(i).ok()?, &collection.name(i), [255; 3]).ok()?;
    let small = png(&thumbnail_of(&pixels, SIDE)).ok()?;
    let caption = collection.captions(i).first().cloned().unwrap_or_default();
    Some(json!({ "caption": caption, "thumbnail": format!("data:image/png;base64,{}", encoded(&small)) }))
}
