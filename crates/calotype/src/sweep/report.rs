//! `report.html` of a sweep: the same prompts by every variant, then the numbers.

use std::path::Path;

use super::folder::SweepFolder;
use super::plan::{Plan, PlannedRun};
use super::results::{Results, VariantResults};
use super::table::{explanation, table};
use crate::data::emoji_scenes::{Scene, Split};
use crate::error::{Error, Result};
use crate::report::{Content, Figure, FigureRow, Report, Section};

/// Prompts that are shown.
const PROMPTS: u64 = 4;

/// Writes the page into the sweep's folder. `name`: of the sweep's file.
///
/// # Errors
/// `Error::Io`; `Error::Format` for a picture that cannot be read.
pub(super) fn write(name: &Path, plan: &Plan, folder: &SweepFolder, results: &Results) -> Result<()> {
    let mut sections = Vec::new();
    for (group, variants) in results.groups() {
        let title = if group.is_empty() { "Variants" } else { group };
        sections.push(Section {
            title: title.into(),
            text: "The first prompts, not chosen, with the same noise; on the left the scene itself.".into(),
            content: Content::Figures(pictures(plan, folder, &variants)?),
        });
        sections.push(Section {
            title: format!("{title}: numbers"),
            text: explanation(results),
            content: Content::Table(table(results, &variants)),
        });
    }
    let notes = results.variants.iter().flat_map(|variant| &variant.notes);
    let notes: Vec<String> = notes.map(|note| note.clone() + ".").collect();
    let first = format!(
        "{} variants of one recipe, {} models measured. What two variants have in common was trained once.",
        results.variants.len(),
        results.variants.iter().map(|variant| variant.measured).sum::<usize>(),
    );
    let report = Report {
        title: format!("Calotype: what matters, by {}", name.display()),
        summary: std::iter::once(first).chain(notes).collect(),
        facts: vec![],
        sections,
    };
    report.write(&folder.path().join("report.html"))
}

/// A row for each prompt: the scene, the base, the variants, with the first seed.
fn pictures(plan: &Plan, folder: &SweepFolder, variants: &[&VariantResults]) -> Result<Vec<FigureRow>> {
    let Some(base) = plan.runs.first() else { return Ok(vec![]) };
    let of_seed = plan.runs.iter().filter(|run| run.recipe.seed == base.recipe.seed);
    let is_shown = |run: &&PlannedRun| {
        run.variant == base.variant || variants.iter().any(|shown| shown.name == run.variant)
    };
    let runs: Vec<&PlannedRun> = of_seed.filter(is_shown).collect();
    let scenes = runs.iter().map(|run| scenes(run)).collect::<Result<Vec<_>>>()?;
    let mut rows = Vec::new();
    for i in 0..PROMPTS as usize {
        let Some(scene) = scenes.first().and_then(|scenes| scenes.get(i)) else { break };
        let mut figures = vec![Figure { image: scene.image.clone(), caption: scene.caption.clone() }];
        for (run, own) in runs.iter().zip(&scenes) {
            let path = folder.run(run).path().join(format!("samples/{i:04}.png"));
            let (true, Some(asked)) = (path.is_file(), own.get(i)) else { continue };
            let image = image::open(&path).map_err(|e| Error::format(&path, "PNG", e))?.to_rgb8();
            let other = if asked.caption == scene.caption { "" } else { &format!(": {}", asked.caption) };
            figures.push(Figure { image, caption: format!("{}{other}", run.variant) });
        }
        rows.push(FigureRow { figures });
    }
    Ok(rows)
}

/// The scenes whose captions are the first prompts of a model.
fn scenes(run: &PlannedRun) -> Result<Vec<Scene>> {
    let (data, count) = (run.recipe.scenes()?, run.recipe.evaluation()?.scenes as u64);
    Ok((0..PROMPTS.min(count)).map(|i| data.scene(Split::HeldOut, i)).collect())
}
