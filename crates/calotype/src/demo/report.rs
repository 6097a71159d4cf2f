//! `report.html`, and the pictures beside it.

use image::RgbImage;

use super::accuracy::Accuracy;
use super::evaluation::Evaluation;
use super::measure::Measure;
use crate::data::emoji_scenes::Scene;
use crate::error::Result;
use crate::evaluate::scene_checker::Verdict;
use crate::explain::overlay::overlay;
use crate::files::png;
use crate::report::{Chart, Content, Curve, Figure, FigureRow, Report, Section, Table};
use crate::runs::folder::{RunFolder, TrainedPart};
use crate::trainer::Recipe;
use crate::trainer::metrics_log::read_series;

/// Pictures in a row, and rows, of each sample grid.
const GRID: (usize, usize) = (5, 4);
/// Pairs of original and reconstruction.
const PAIRS: usize = 5;
/// Prompts whose words are shown.
const EXPLAINED: usize = 4;

/// Writes `report.html`, `samples/` and `heat_maps/` into the run. `name`: of the recipe; `commit`: of the program.
///
/// # Errors
/// `Error::Io`; `Error::Format` for a log that cannot be read.
pub(super) fn write(
    name: &str,
    recipe: &Recipe,
    run: &RunFolder,
    evaluation: &Evaluation,
    commit: &str,
) -> Result<()> {
    let report = Report {
        title: format!("Calotype: a text-to-image model, trained and measured (recipe {name})"),
        summary: summary(recipe, evaluation),
        facts: facts(evaluation),
        sections: vec![
            samples(run, evaluation)?,
            seen_pairs(evaluation),
            heat_maps(run, evaluation)?,
            metrics(evaluation, commit),
            reconstructions(evaluation),
            losses(run)?,
        ],
    };
    report.write(&run.path().join("report.html"))
}

fn percent(x: f64) -> String {
    format!("{:.1} %", 100.0 * x)
}

pub(super) fn facts(evaluation: &Evaluation) -> Vec<(String, String)> {
    // The table of metrics has the reason.
    let fact = |label: &str, value: Option<String>| {
        (label.to_owned(), value.unwrap_or_else(|| "not measured".to_owned()))
    };
    let rate =
        |accuracy: &Measure<Accuracy>| accuracy.as_ref().ok().map(|accuracy| percent(accuracy.model.rate()));
    vec![
        fact("prompt accuracy", rate(&evaluation.accuracy)),
        fact("nouns found", rate(&evaluation.nouns)),
        fact("reconstruction", evaluation.psnr.as_ref().ok().map(|psnr| format!("{psnr:.1} dB"))),
        fact(
            "CLIP retrieval at 1",
            evaluation.retrieval.as_ref().ok().map(|retrieval| percent(retrieval.found)),
        ),
    ]
}

pub(super) fn summary(recipe: &Recipe, evaluation: &Evaluation) -> Vec<String> {
    let read = |accuracy: &Accuracy| {
        format!(
            "A scene checker finds all nouns of the prompt in the right relation in {} of the generated pictures; \
             with the empty prompt it would be {}, against another prompt {}. The same checker reads {} of the \
             rendered scenes and {} of the autoencoder's reconstructions, which bounds what the model can reach.",
            percent(accuracy.model.rate()),
            percent(accuracy.unconditional.rate()),
            percent(accuracy.chance.rate()),
            percent(accuracy.ground_truth.rate()),
            percent(accuracy.reconstruction.rate()),
        )
    };
    vec![
        format!(
            "All three parts of this latent diffusion model were trained on emoji-scenes of {0}x{0} pixels: a \
             variational autoencoder, a pair of CLIP towers, and a U-Net that removes noise. Every number below \
             is measured on pairs of nouns that training never shows together, unless it says otherwise.",
            recipe.data.size
        ),
        match &evaluation.accuracy {
            Ok(accuracy) => read(accuracy),
            Err(reason) => {
                format!("How often the pictures show what their prompts say was not measured: {reason}.")
            }
        },
    ]
}

fn samples(run: &RunFolder, evaluation: &Evaluation) -> Result<Section> {
    let folder = run.path().join("samples");
    for (i, explanation) in evaluation.explanations.iter().enumerate() {
        png::write(&folder.join(format!("{i:04}.png")), &explanation.image)?;
    }
    let images = evaluation.explanations.iter().map(|explanation| &explanation.image);
    Ok(Section {
        title: "Pictures of pairs that training never showed together".into(),
        text: "The first prompts, not chosen. ✓: the checker found every noun and the relation.".into(),
        content: grid(&evaluation.scenes, images, &evaluation.verdicts),
    })
}

fn seen_pairs(evaluation: &Evaluation) -> Section {
    let (text, content) = match &evaluation.seen {
        Ok(seen) => {
            let text =
                "New scenes, the first prompts. The difference to those above is what combining costs.";
            (text.to_owned(), grid(&seen.scenes, seen.pictures.iter(), &seen.verdicts))
        }
        Err(reason) => (format!("Not measured: {reason}."), Content::Figures(vec![])),
    };
    Section { title: "Pictures of pairs that training has shown".into(), text, content }
}

/// The first pictures, with their prompts and verdicts.
fn grid<'a>(scenes: &[Scene], images: impl Iterator<Item = &'a RgbImage>, verdicts: &[Verdict]) -> Content {
    let figure = |((scene, image), verdict): ((&Scene, &RgbImage), &Verdict)| Figure {
        image: image.clone(),
        caption: format!("{} {}", if verdict.correct { "✓" } else { "✗" }, scene.caption),
    };
    let figures = scenes.iter().zip(images).zip(verdicts).take(GRID.0 * GRID.1).map(figure);
    Content::Figures(rows(figures.collect(), GRID.0))
}

fn rows(figures: Vec<Figure>, width: usize) -> Vec<FigureRow> {
    let mut rows = Vec::new();
    let mut figures = figures.into_iter().peekable();
    while figures.peek().is_some() {
        rows.push(FigureRow { figures: figures.by_ref().take(width).collect() });
    }
    rows
}

fn heat_maps(run: &RunFolder, evaluation: &Evaluation) -> Result<Section> {
    let folder = run.path().join("heat_maps");
    // Pictures in which all is right show best what the words do.
    let mut order: Vec<usize> = (0..evaluation.scenes.len()).collect();
    order.sort_by_key(|&i| !evaluation.verdicts[i].correct);
    let mut shown = Vec::new();
    for &i in order.iter().take(EXPLAINED) {
        let (scene, explanation) = (&evaluation.scenes[i], &evaluation.explanations[i]);
        let mut figures = vec![Figure { image: explanation.image.clone(), caption: scene.caption.clone() }];
        for (noun, _) in &scene.spec.objects {
            if let Some(map) = explanation.maps.iter().find(|map| map.word == noun.name()) {
                let image = overlay(&explanation.image, map)?;
                png::write(&folder.join(format!("{i:04}-{}.png", map.word)), &image)?;
                figures.push(Figure { image, caption: map.word.clone() });
            }
        }
        shown.push(FigureRow { figures });
    }
    Ok(Section {
        title: "Which word lit which pixel".into(),
        text: words_text(evaluation),
        content: Content::Figures(shown),
    })
}

/// What the heat maps are, and how well they lie on the objects.
pub(super) fn words_text(evaluation: &Evaluation) -> String {
    let score = match &evaluation.localisation {
        Ok(localisation) => format!(
            "Over {} words in {} generated pictures, {} of a noun's map lies in the box where the checker found \
             the object; the box covers {} of the picture.",
            localisation.n,
            evaluation.localised_pictures,
            percent(localisation.mass_inside.mean),
            percent(localisation.area_share.mean),
        ),
        Err(reason) => format!("How much of them lies on the objects was not measured: {reason}."),
    };
    let what =
        "Cross-attention of each noun, averaged over heads, layers and steps, less the mean over the words.";
    format!("{what} {score}")
}

fn metrics(evaluation: &Evaluation, commit: &str) -> Section {
    Section {
        title: "Metrics".into(),
        text: format!("Measured at commit {commit}."),
        content: Content::Table(Table {
            columns: ["metric", "value", "protocol"].map(String::from).to_vec(),
            rows: evaluation.rows().into_iter().map(Vec::from).collect(),
        }),
    }
}

fn reconstructions(evaluation: &Evaluation) -> Section {
    let figure =
        |image: &image::RgbImage, caption: &str| Figure { image: image.clone(), caption: caption.into() };
    let originals =
        evaluation.scenes.iter().take(PAIRS).map(|scene| figure(&scene.image, "original")).collect();
    let back =
        evaluation.reconstructions.iter().take(PAIRS).map(|image| figure(image, "reconstruction")).collect();
    Section {
        title: "Through the autoencoder and back".into(),
        text: "Held-out scenes, the mean of the posterior decoded.".into(),
        content: Content::Figures(vec![FigureRow { figures: originals }, FigureRow { figures: back }]),
    }
}

fn losses(run: &RunFolder) -> Result<Section> {
    let chart = |part: TrainedPart, title: &str, log_y: bool, names: &[&str]| -> Result<Chart> {
        let curve = |name: &&str| Ok(Curve::smoothed(name, &read_series(&run.log(part), name)?, log_y));
        let curves = names.iter().map(curve).collect::<Result<Vec<_>>>()?;
        Ok(Chart { title: title.into(), x_label: "step".into(), y_label: "loss".into(), log_y, curves })
    };
    Ok(Section {
        title: "Training".into(),
        text: "A CLIP that knows nothing has the chance loss ln(batch).".into(),
        content: Content::Charts(vec![
            chart(TrainedPart::Vae, "Autoencoder: mean squared error of a pixel", true, &["reconstruction"])?,
            chart(TrainedPart::Vae, "Autoencoder: KL in nats a picture", true, &["kl"])?,
            chart(TrainedPart::Clip, "CLIP: symmetric InfoNCE", false, &["loss", "chance_loss"])?,
            chart(TrainedPart::Diffusion, "U-Net: mean squared error of the noise", true, &["loss"])?,
        ]),
    })
}
