//! `report.html`: the numbers, and what was drawn right and wrong, side by side.

use std::path::Path;

use super::Outcome;
use super::table::{COLUMNS, rate};
use crate::data::emoji_scenes::Noun;
use crate::data::picture;
use crate::error::Result;
use crate::evaluate::benchmark::{JudgedPairs, Pairs};
use crate::evaluate::prompt_accuracy::Proportion;
use crate::report::{Content, Figure, FigureRow, Report, Section, Table};

/// Pictures in a row.
const ROW: usize = 5;
/// Pictures of each kind: right and wrong, of unseen and of seen pairs.
const SHOWN: usize = 10;

/// Writes the page. `pictures`: the folder where they lie; `commit`: of the program.
///
/// # Errors
/// Those of reading the pictures; `Error::Io`.
pub(super) fn write(outcome: &Outcome, path: &Path, pictures: &Path, commit: &str) -> Result<()> {
    let mut sections = vec![numbers(outcome, commit)];
    for judged in &outcome.pairs {
        sections.push(section(judged, pictures, true)?);
        sections.push(section(judged, pictures, false)?);
    }
    sections.push(nouns(outcome));
    Report {
        title: format!("Prompt accuracy: {}", outcome.prompts.name()),
        summary: summary(outcome),
        facts: facts(outcome),
        sections,
    }
    .write(path)
}

fn summary(outcome: &Outcome) -> Vec<String> {
    vec![
        format!("Measured: {}.", outcome.made()),
        format!(
            "Prompts: {}. Each asks for two or three things, how the first lies to the second, and mostly the colour of the \
             background. Of unseen pairs, training on emoji-scenes never shows the first two together: such a prompt asks \
             the model to combine what it knows.",
            outcome.asked()
        ),
        "A checker without learned parts finds objects and background in each picture before it is told the prompt; \
         only then are the two compared. Beside each share are its 95 % interval, and n, of how many it is the share."
            .into(),
    ]
}

fn facts(outcome: &Outcome) -> Vec<(String, String)> {
    let [unseen, seen] = outcome.pairs.each_ref().map(|judged| &judged.accuracy);
    vec![
        ("whole prompts, unseen pairs".into(), rate(Some(unseen.prompts))),
        ("whole prompts, seen pairs".into(), rate(Some(seen.prompts))),
        ("nouns, unseen pairs".into(), rate(Some(unseen.nouns))),
        ("relations, unseen pairs".into(), rate(unseen.relations)),
    ]
}

fn numbers(outcome: &Outcome, commit: &str) -> Section {
    let text = format!(
        "Whole prompts: every noun is found, and the first two lie as the relation says. Everything: sizes, colour and \
         number of objects are right too. Other prompt: the same pictures held against the next prompt, which is what \
         chance gives. Rendered scenes: the true pictures, which is what the checker reads at best. Calotype {}, commit \
         {commit}.",
        env!("CARGO_PKG_VERSION")
    );
    let columns = COLUMNS.map(String::from).to_vec();
    let rows = outcome.rows().into_iter().map(Vec::from).collect();
    Section { title: "Numbers".into(), text, content: Content::Table(Table { columns, rows }) }
}

/// The first pictures in which the whole prompt is right, or something of it is not.
fn section(judged: &JudgedPairs, pictures: &Path, correct: bool) -> Result<Section> {
    let of_kind = |&i: &usize| judged.judgements[i].verdict.correct == correct;
    let chosen: Vec<usize> = (0..judged.scenes.len()).filter(of_kind).collect();
    let figures =
        chosen.iter().take(SHOWN).map(|&i| figure(judged, i, pictures)).collect::<Result<Vec<_>>>()?;
    let kind = match judged.pairs {
        Pairs::Unseen => "Unseen pairs",
        Pairs::Seen => "Seen pairs",
    };
    let (title, what) = if correct {
        ("prompts that are right", "")
    } else {
        ("prompts that are not right", ", with what is wrong")
    };
    let (found, all) = (chosen.len(), judged.scenes.len());
    Ok(Section {
        title: format!("{kind}: {title}"),
        text: match found {
            0 => "None.".into(),
            _ => format!("The first {} of {found} among {all}, not chosen{what}.", found.min(SHOWN)),
        },
        content: Content::Figures(rows(figures)),
    })
}

fn figure(judged: &JudgedPairs, i: usize, pictures: &Path) -> Result<Figure> {
    let (scene, judgement) = (&judged.scenes[i], &judged.judgements[i]);
    let image = picture::load(&pictures.join(judged.pairs.file(i)))?;
    let faults = judgement.faults(&judged.readings[i], scene);
    let said = if faults.is_empty() { String::new() } else { format!(" — {}", faults.join(", ")) };
    let mark = if judgement.verdict.correct { "✓" } else { "✗" };
    Ok(Figure { image, caption: format!("{mark} {}{said}", scene.caption) })
}

fn rows(figures: Vec<Figure>) -> Vec<FigureRow> {
    figures.chunks(ROW).map(|row| FigureRow { figures: row.to_vec() }).collect()
}

/// How often each noun is found, the worst first. A noun may be in no unseen pair.
fn nouns(outcome: &Outcome) -> Section {
    let [unseen, seen] = outcome.pairs.each_ref().map(|judged| &judged.accuracy.each_noun);
    let of = |noun: &Noun| [unseen.get(noun).copied(), seen.get(noun).copied()];
    let all = |noun: &Noun| {
        let counts = of(noun).into_iter().flatten().map(|share| (share.hits(), share.n()));
        Proportion::over(counts).map_or(1.0, |share| share.rate())
    };
    let mut asked: Vec<Noun> =
        Noun::ALL.into_iter().filter(|noun| of(noun).iter().any(Option::is_some)).collect();
    asked.sort_by(|a, b| all(a).total_cmp(&all(b)));
    let row = |noun: &Noun| {
        let found = |share: Proportion| format!("{} of {}", share.hits(), share.n());
        let cells = of(noun).map(|share| [rate(share), share.map_or("–".into(), found)]);
        [vec![noun.to_string()], cells.concat()].concat()
    };
    let columns = ["noun", "unseen pairs", "found", "seen pairs", "found"].map(String::from).to_vec();
    Section {
        title: "Each noun".into(),
        text: "The worst first. A noun without a number is in no pair of this kind.".into(),
        content: Content::Table(Table { columns, rows: asked.iter().map(row).collect() }),
    }
}
