//! What makes numbers hard to compare with others.

use std::collections::BTreeMap;

use super::picture_set::{Decoding, SetFacts};
use super::side::Side;
use crate::data::picture;

/// Below this, FID depends more on n than on the model.
const ENOUGH: usize = 10_000;

/// About metrics of sets: the number of pictures, protocols that are not known, and what [`of_pictures`] sees.
pub fn of_sides(generated: &Side, reference: Option<&Side>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, side) in [("generated", Some(generated)), ("reference", reference)] {
        let Some(side) = side else { continue };
        match side.n() {
            Some(n) if n >= ENOUGH => {}
            Some(n) => {
                found
                    .push(format!("{name}: {n} pictures, below {ENOUGH}: not comparable with published FID"));
            }
            None => found.push(format!("{name}: the file does not say of how many pictures (n) it is")),
        }
        if !side.protocol.is_known() {
            found.push(format!(
                "{name}: the file does not say how its features were made (no protocol.json): whether the sides \
                 can be compared is not known"
            ));
        }
    }
    let facts = reference.and_then(|side| side.facts.as_ref());
    found.extend(of_pictures(generated.facts.as_ref(), facts, Decoding::AsPillow));
    found
}

/// About folders of pictures, read in this way.
pub fn of_pictures(
    generated: Option<&SetFacts>,
    reference: Option<&SetFacts>,
    reading: Decoding,
) -> Vec<String> {
    let sides = [("generated", generated), ("reference", reference)];
    let mut found: Vec<String> = sides
        .iter()
        .filter_map(|(name, facts)| Some((name, (*facts)?)))
        .flat_map(|(name, facts)| {
            of_folder(facts, reading).into_iter().map(move |text| format!("{name}: {text}"))
        })
        .collect();
    if let (Some(generated), Some(reference)) = (generated, reference) {
        if generated.formats.keys().ne(reference.formats.keys()) {
            let text = format!("{} against {}", list(&generated.formats), list(&reference.formats));
            found.push(format!("file formats differ: {text}; compression alone moves FID"));
        }
        if generated.sizes.keys().ne(reference.sizes.keys()) {
            found.push("the sides have pictures of different sizes".into());
        }
    }
    found
}

fn of_folder(facts: &SetFacts, reading: Decoding) -> Vec<String> {
    let mut found = Vec::new();
    if facts.formats.len() > 1 {
        found.push(format!("several file formats: {}", list(&facts.formats)));
    }
    if facts.sizes.len() > 1 {
        found.push(format!("{} different sizes", facts.sizes.len()));
    }
    let transparency = match reading {
        Decoding::AsPillow => "with transparency, which is dropped",
        Decoding::Upright => "with transparency, which is laid over white",
    };
    for (count, what) in [
        (facts.grey, "without colour"),
        (facts.alpha, transparency),
        (facts.deep, "of more than 8 bits, which are rounded"),
    ] {
        if count > 0 {
            found.push(format!("{count} pictures {what}"));
        }
    }
    if !facts.unread.is_empty() {
        found.push(format!(
            "{} pictures of other kinds than {}, which are left out: {}",
            facts.unread.len(),
            picture::FORMATS,
            names(&facts.unread)
        ));
    }
    let others = facts.leftovers - facts.unread.len();
    if others > 0 {
        found.push(format!("{others} other files or folders, which are left out"));
    }
    if !facts.broken.is_empty() {
        found.push(format!("{} pictures that cannot be read, which are left out", facts.broken.len()));
    }
    found
}

/// The first few.
fn names(all: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown = all.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if all.len() > SHOWN { format!("{shown} and {} more", all.len() - SHOWN) } else { shown }
}

fn list(formats: &BTreeMap<String, usize>) -> String {
    formats.iter().map(|(format, n)| format!("{n} {format}")).collect::<Vec<_>>().join(", ")
}
