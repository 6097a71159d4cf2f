//! How much of the prompts a set of pictures shows: a share of each part, with its interval.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Judgement;
use crate::data::emoji_scenes::{Noun, Relation, Scene};
use crate::error::Result;
use crate::evaluate::prompt_accuracy::Proportion;

/// Shares over the pictures of some prompts. What has no trial is `None`.
#[derive(Debug, Clone, Serialize)]
pub struct Accuracy {
    /// Pictures with every noun and the relation.
    pub prompts: Proportion,
    /// Nouns that are found.
    pub nouns: Proportion,
    /// Relations that hold, where both nouns are found.
    pub relations: Option<Proportion>,
    /// The same of each relation.
    pub each_relation: BTreeMap<Relation, Option<Proportion>>,
    /// Objects as large as the caption says, where it says so and the noun is found.
    pub sizes: Option<Proportion>,
    /// Backgrounds of the colour that the caption names.
    pub colours: Option<Proportion>,
    /// Pictures with as many objects as the caption names.
    pub counts: Proportion,
    /// Pictures in which all of this is right.
    pub everything: Proportion,
    /// For each noun that is asked for, how often it is found.
    pub each_noun: BTreeMap<Noun, Proportion>,
}

impl Accuracy {
    /// Over `judgements`, one for each of `scenes`.
    ///
    /// # Errors
    /// `Error::Argument` for none.
    pub fn of(scenes: &[&Scene], judgements: &[Judgement]) -> Result<Self> {
        let share = |count: &dyn Fn(&Judgement, &Scene) -> (usize, usize)| {
            Proportion::over(judgements.iter().zip(scenes).map(|(own, scene)| count(own, scene)))
        };
        let relation = |relation| share(&move |own, scene| own.relation(scene, relation)).ok();
        let noun = |noun| Some((noun, share(&move |own, scene| own.noun(scene, noun)).ok()?));
        Ok(Self {
            prompts: share(&|own, _| own.verdict.prompt())?,
            nouns: share(&|own, _| own.verdict.nouns())?,
            relations: share(&|own, _| own.verdict.relation()).ok(),
            each_relation: Relation::ALL.into_iter().map(|own| (own, relation(own))).collect(),
            sizes: share(&|own, _| own.sizes()).ok(),
            colours: share(&|own, _| own.colour()).ok(),
            counts: share(&|own, _| (usize::from(own.count), 1))?,
            everything: share(&|own, _| (usize::from(own.everything()), 1))?,
            each_noun: Noun::ALL.into_iter().filter_map(noun).collect(),
        })
    }

    /// What is measured, and the share: the rows of a table. Those of single relations begin with `· `.
    pub fn rows(&self) -> Vec<(String, Option<Proportion>)> {
        let mut rows = vec![
            ("whole prompts: nouns and relation".to_owned(), Some(self.prompts)),
            ("nouns".to_owned(), Some(self.nouns)),
            ("relations, both nouns found".to_owned(), self.relations),
        ];
        rows.extend(self.each_relation.iter().map(|(relation, share)| (format!("· {relation}"), *share)));
        rows.extend([
            ("sizes, noun found".to_owned(), self.sizes),
            ("colour of the background".to_owned(), self.colours),
            ("number of objects".to_owned(), Some(self.counts)),
            ("everything".to_owned(), Some(self.everything)),
        ]);
        rows
    }
}
