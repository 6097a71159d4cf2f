use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, SystemTime};

use super::chart::{Canvas, draw_all};
use super::compare::{Measure, NumberRow, compare};
use super::folder::TrainedPart;
use super::plot::{PlotOptions, Smoothing, plot};
use super::scan::{BestValue, PartState, list};
use super::*;
use crate::report::curve::pieces;
use crate::testing::TempDir;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(TempDir::new())
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
        self.0.write(path, content)
    }

    /// A run whose autoencoder has done `steps` of 1000 steps, with a loss that falls to `floor`.
    fn run(&self, name: &str, steps: usize, floor: f64) -> PathBuf {
        let recipe = format!(
            "seed = 0\n[data]\nsize = 32\n[vae]\nbeta = 1e-6\nblock_out_channels = [24, 48]\n\
             [vae.training]\nsteps = 1000\nlearning_rate = {floor}\n[clip.training]\nsteps = 480\n"
        );
        self.write(&format!("{name}/recipe.toml"), recipe);
        let mut log = String::new();
        for step in (0..steps).filter(|step| step % 10 == 0 || step + 1 == steps) {
            let loss = floor + 0.5 * (-(step as f64) / 60.0).exp();
            let rate = 1e-3 * (1.0 - step as f64 / 1000.0);
            writeln!(
                log,
                "{{\"step\":{step},\"loss\":{loss},\"gradient_norm\":1.5,\"learning_rate\":{rate}}}"
            )
            .unwrap();
            if step > 0 && step % 200 == 0 {
                let psnr = 20.0 - floor + if step == 400 { 3.0 } else { step as f64 / 500.0 };
                let loss = loss * 1.1;
                writeln!(log, "{{\"step\":{step},\"validation_loss\":{loss},\"validation_psnr\":{psnr}}}")
                    .unwrap();
                self.write(&format!("{name}/state/vae/{step:09}.safetensors"), [0; 1000]);
            }
        }
        self.write(&format!("{name}/logs/vae.jsonl"), log + "{\"step\":9999,\"los");
        let events = "{\"step\":120,\"event\":\"loss_spike\",\"loss\":3.0}\n{\"step\":200,\"event\":\"best\"}\n\
                      {\"step\":400,\"event\":\"best\"}\n";
        self.write(&format!("{name}/logs/vae.events.jsonl"), events);
        self.0.join(name)
    }

    /// A run with this log of its autoencoder.
    fn logged(&self, name: &str, log: &str) -> PathBuf {
        self.write(&format!("{name}/recipe.toml"), "");
        self.write(&format!("{name}/logs/vae.jsonl"), log);
        self.0.join(name)
    }
}

fn all() -> PlotOptions {
    PlotOptions { part: None, metric: None, smoothing: Smoothing::Auto }
}

fn set_age(path: &Path, seconds_since_1970: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds_since_1970);
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn a_listing_says_how_far_each_run_is() {
    let folder = Folder::new();
    let run = folder.run("pets/cats", 750, 0.02);
    folder.write("pets/cats/best/vae/config.json", "{}");
    folder.write("pets/cats/state/clip/000000480.safetensors", [0; 4]);

    let listing = list(&folder.0).unwrap();
    assert_eq!(listing.warnings, Vec::<String>::new());
    let [summary] = &listing.runs[..] else { panic!("{listing:?}") };
    assert_eq!((&summary.path, summary.has_best), (&run, true));
    assert!(summary.bytes > 3 * 1000 && summary.changed > 0);
    let [vae, clip] = &summary.parts[..] else { panic!("{summary:?}") };
    assert_eq!((vae.steps, vae.checkpoint, vae.planned), (Some(749), Some(600), Some(1000)));
    assert_eq!((vae.state, clip.state), (PartState::Unfinished, PartState::Done));
    assert!((vae.last_loss.unwrap() - 0.020_006).abs() < 1e-5, "{:?}", vae.last_loss);
    let psnr = BestValue { metric: "validation_psnr".into(), value: 22.98, step: 400 };
    assert_eq!(vae.best_validation[0].metric, "validation_loss");
    assert_eq!(vae.best_validation[1], psnr);
    assert_eq!(vae.events, [("best".to_owned(), 2), ("loss_spike".to_owned(), 1)].into());
    assert_eq!((clip.steps, clip.planned, clip.last_loss), (Some(480), Some(480), None));
}

#[test]
fn a_run_is_done_when_its_log_or_its_checkpoint_is() {
    let folder = Folder::new();
    folder.run("by-log", 1000, 0.02);
    folder.logged("unknown", "{\"step\":0,\"loss\":1}\n");
    folder.logged("fresh", "");
    let listing = list(&folder.0).unwrap();
    let of = |name: &str| {
        let run = listing.runs.iter().find(|run| run.path.ends_with(name)).unwrap();
        (run.parts[0].steps, run.parts[0].state)
    };
    assert_eq!(of("by-log"), (Some(1000), PartState::Done));
    assert_eq!(of("unknown"), (Some(0), PartState::Unknown));
    assert_eq!(of("fresh"), (None, PartState::NotStarted));
}

#[test]
fn the_newest_run_stands_first_and_ages_are_said() {
    let folder = Folder::new();
    for (name, changed) in [("older", 1_000_000), ("newer", 1_007_200)] {
        let run = folder.logged(name, "{\"step\":0,\"loss\":1}\n");
        for file in ["recipe.toml", "logs/vae.jsonl"] {
            set_age(&run.join(file), changed);
        }
    }
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_007_200 + 7300);
    let text = text::listing(&list(&folder.0).unwrap(), now);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[1].contains("newer") && lines[1].contains("2 h ago"), "{text}");
    assert!(lines[2].contains("older") && lines[2].contains("4 h ago"), "{text}");
    assert_eq!(lines[0].find("part"), lines[1].find("vae"), "{text}");
}

#[test]
fn runs_are_found_three_folders_deep_and_not_inside_runs() {
    let folder = Folder::new();
    for path in ["a", "b/c/d", "b/c/e/too_deep", "a/inside"] {
        folder.logged(path, "{\"step\":0,\"loss\":1}\n");
    }
    let runs = list(&folder.0).unwrap().runs;
    let mut found: Vec<_> = runs.iter().map(|run| run.path.strip_prefix(&folder.0).unwrap()).collect();
    found.sort();
    assert_eq!(found, [Path::new("a"), Path::new("b/c/d")]);
    assert_eq!(list(&folder.0.join("a")).unwrap().runs.len(), 1, "the folder itself may be a run");
    assert!(matches!(list(&folder.0.join("none")), Err(Error::Io { .. })));
}

#[test]
fn a_broken_run_is_a_warning_and_hides_no_other() {
    let folder = Folder::new();
    folder.run("good", 100, 0.02);
    folder.logged("bad", "{\"step\":0,\"loss\":1}\nnot JSON\n{\"step\":10,\"loss\":1}\n");
    folder.write("worse/recipe.toml", "steps = = 3");
    folder.write("worse/logs/vae.jsonl", "{\"step\":0,\"loss\":1}\n");
    let listing = list(&folder.0).unwrap();
    assert_eq!(listing.runs.len(), 3);
    assert_eq!(listing.warnings.len(), 2, "{:?}", listing.warnings);
    assert!(
        listing.warnings.iter().any(|warning| warning.contains("line 2, column")),
        "{:?}",
        listing.warnings
    );
}

#[test]
fn what_is_no_run_is_refused() {
    let folder = Folder::new();
    let file = folder.write("file", "");
    folder.write("only-logs/logs/vae.jsonl", "");
    let message = |path: &Path| RunFolder::open(path).unwrap_err().to_string();
    assert!(
        message(&file).contains("expected a run: a folder with logs/, and recipe.toml or state/, got a file")
    );
    assert!(message(&folder.0).contains("a folder without logs/"));
    assert!(message(&folder.0.join("only-logs")).contains("a folder with logs/ only"));
    assert!(matches!(RunFolder::open(&folder.0.join("none")), Err(Error::Io { .. })));

    let run = folder.run("run", 20, 0.02);
    let twice = [run.clone(), folder.0.join("run/../run")];
    assert!(compare(&twice, None).unwrap_err().to_string().contains("runs: expected each once"));
    assert!(matches!(compare(&twice[..1], None), Err(Error::Argument { .. })));
    let clip = plot(&[run], &PlotOptions { part: Some(TrainedPart::Clip), ..all() }).unwrap_err();
    assert!(clip.to_string().contains("a part with a log: vae"), "{clip}");
}

#[test]
fn a_comparison_shows_what_differs_and_who_is_better() {
    let folder = Folder::new();
    let (long, short) = (folder.run("long", 1000, 0.03), folder.run("short", 500, 0.02));
    let recipe = fs::read_to_string(short.join("recipe.toml")).unwrap();
    let recipe =
        recipe.replace("[24, 48]", "[32, 48]").replace("size = 32", "size = 32.0") + "batch_size = 8\n";
    fs::write(short.join("recipe.toml"), recipe).unwrap();

    let found = compare(&[long, short], None).unwrap();
    let keys: Vec<&str> = found.recipe.iter().map(|row| row.key.as_str()).collect();
    let expected = ["clip.training.batch_size", "vae.block_out_channels", "vae.training.learning_rate"];
    assert_eq!(keys, expected, "equal numbers are no difference");
    assert_eq!(found.recipe[0].values, [None, Some("8".into())]);
    assert_eq!(found.recipe[1].values, [Some("[24, 48]".into()), Some("[32, 48]".into())]);

    let [vae] = &found.parts[..] else { panic!("{found:?}") };
    assert_eq!((vae.last_steps.as_slice(), vae.common_step), (&[Some(999), Some(499)][..], Some(499)));
    let row = |metric: &str, measure: Measure| -> &NumberRow {
        vae.rows.iter().find(|row| row.metric == metric && row.measure == measure).unwrap()
    };
    assert_eq!(row("loss", Measure::Last).better, Some(1));
    let at_common = row("loss", Measure::AtCommonStep);
    assert_eq!(at_common.values[0].unwrap().step, 490);
    assert!(at_common.values[0].unwrap().value > row("loss", Measure::Last).values[0].unwrap().value);
    let best = row("validation_psnr", Measure::Best);
    assert_eq!((best.better, best.values[0].unwrap().step), (Some(1), 400));
    assert_eq!(row("validation_psnr", Measure::Last).values[0].unwrap().step, 800);
    assert_eq!(row("learning_rate", Measure::Last).better, None);
    assert_eq!(vae.events[0].counts, [2, 2]);

    let text = text::comparison(&found);
    assert!(text.contains("clip.training.batch_size") && text.contains("  -         8\n"), "{text}");
    assert!(text.contains("validation_psnr, best") && text.contains("22.98 at 400 *"), "{text}");
}

#[test]
fn equal_ends_and_missing_numbers_have_no_row_and_no_winner() {
    let folder = Folder::new();
    let one =
        folder.logged("one", "{\"step\":0,\"loss\":1}\n{\"step\":10,\"loss\":0.5,\"validation_fid\":9}\n");
    let next = folder.logged("next", "{\"step\":0,\"loss\":1}\n{\"step\":10,\"loss\":0.5}\n");
    fs::remove_file(next.join("recipe.toml")).unwrap();
    fs::create_dir(next.join("state")).unwrap();
    let found = compare(&[one, next], None).unwrap();
    assert_eq!(found.parts[0].common_step, None);
    assert!(
        found.parts[0].rows.iter().all(|row| row.better.is_none() && row.measure != Measure::AtCommonStep)
    );
    assert_eq!(found.notes, ["next has no recipe.toml"]);
    assert_eq!(found.recipe, []);
}

#[test]
fn gaps_cut_last_lines_and_broken_lines() {
    let folder = Folder::new();
    let log = "{\"step\":0,\"loss\":1}\n{\"step\":10,\"loss\":null,\"note\":\"x\"}\n{\"step\":20,\"loss\":3}\n{\"step\":30,";
    let gap = folder.logged("gap", log);
    let line = plot(&[gap], &all()).unwrap().charts[0].lines[0].clone();
    assert_eq!((line.raw.len(), line.not_finite, line.last), (3, 1, Some(2.0)));
    assert!(line.raw[1].1.is_nan());
    let cells: Vec<_> = pieces(&line.raw, false).collect();
    assert_eq!(cells, [&[(0.0, 1.0)], &[(20.0, 3.0)]]);
    assert!(serde_json::to_string(&line).unwrap().contains("[10.0,null]"));

    for (broken, reason) in [
        ("{\"step\":0}\n[1]\n", "line 2, column"),
        ("{\"step\":0}\n\n{\"step\":1}\n", "line 2, column"),
        ("\u{0}\u{0}\n", "line 1, column"),
    ] {
        let error = plot(&[folder.logged("broken", broken)], &all()).unwrap_err();
        assert!(matches!(error, Error::Format { .. }) && error.to_string().contains(reason), "{error}");
    }
    let endless = folder.logged("endless", &"x".repeat(3 << 20));
    assert!(plot(&[endless], &all()).unwrap_err().to_string().contains("line 1 is longer than"));
}

#[test]
fn an_unknown_metric_lists_those_that_exist() {
    let folder = Folder::new();
    let run = folder.run("run", 300, 0.02);
    let options = PlotOptions { metric: Some("los".into()), ..all() };
    let error = plot(&[run], &options).unwrap_err().to_string();
    let known =
        "metric: expected one of loss, validation_loss, validation_psnr, gradient_norm, learning_rate";
    assert!(error.starts_with(known), "{error}");
}

#[test]
fn only_losses_that_span_much_are_logarithmic() {
    let folder = Folder::new();
    let plot = plot(&[folder.run("run", 1000, 0.02)], &all()).unwrap();
    let log_y = |metric: &str| plot.charts.iter().find(|chart| chart.metric == metric).unwrap().log_y;
    assert!(log_y("loss"), "0.52 to 0.02");
    assert!(!log_y("learning_rate") && !log_y("gradient_norm") && !log_y("validation_loss"));
    let negative = super::plot::plot(
        &[folder.logged("n", "{\"step\":0,\"loss\":-1}\n{\"step\":1,\"loss\":99}\n")],
        &all(),
    );
    assert!(!negative.unwrap().charts[0].log_y);
}

#[test]
fn a_terminal_chart_keeps_to_its_room_and_tells_runs_apart() {
    let folder = Folder::new();
    let runs = [folder.run("one", 1000, 0.02), folder.run("two", 600, 0.2)];
    let options = PlotOptions { metric: Some("loss".into()), ..all() };
    let plot = plot(&runs, &options).unwrap();
    for width in [0, 30, 80, 200] {
        let text = draw_all(&plot, Canvas { width, height: 12, colour: false });
        let longest = text.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(longest <= width.max(45), "{longest} for {width}:\n{text}");
    }
    let text = draw_all(&plot, Canvas { width: 80, height: 12, colour: false });
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 1 + 12 + 2 + 2, "{text}");
    assert_eq!(lines[0], "vae · loss (logarithmic), smoothed");
    // The curve of `two` lies higher, and ends at 600 of 1000 steps.
    let area = |symbol: char| lines[1..13].iter().map(move |line| line.contains(symbol));
    assert!(area('x').rposition(|found| found) < area('o').rposition(|found| found), "{text}");
    assert!(lines.iter().any(|line| line.contains("x two")), "{text}");
    let coloured = draw_all(&plot, Canvas { width: 80, height: 12, colour: true });
    assert!(coloured.contains("\u{1b}[38;5;63m") && coloured.contains("\u{1b}[38;5;166m"));
}

#[test]
fn names_from_files_move_no_cursor_and_are_no_html() {
    let folder = Folder::new();
    let hostile = "\\u001b[2J<script>alert(1)</script><div class=\\\"charts\\\">\\n</div>\\n";
    let run =
        folder.logged("run", &format!("{{\"step\":0,\"{hostile}\":1}}\n{{\"step\":9,\"{hostile}\":2}}\n"));
    let events = format!("{{\"step\":0,\"event\":\"{hostile}\"}}\n");
    folder.write("run/logs/vae.events.jsonl", events);
    let plot = plot(std::slice::from_ref(&run), &all()).unwrap();
    let text = draw_all(&plot, Canvas { width: 80, height: 8, colour: false });
    let listing = text::listing(&list(&folder.0).unwrap(), SystemTime::now());
    assert!(!text.contains('\u{1b}') && !listing.contains('\u{1b}'), "{text}{listing}");
    let html = page::report(&[run], &all()).unwrap().to_html().unwrap();
    assert!(!html.contains("<script") && html.contains("&lt;script"));
    assert_eq!(html.matches("<div class=\"charts\">").count(), 1);
}

#[test]
fn the_page_holds_comparison_and_every_curve() {
    let folder = Folder::new();
    let runs = [folder.run("one", 1000, 0.02), folder.run("two", 600, 0.2)];
    let clip = "{\"step\":0,\"loss\":4}\n{\"step\":10,\"loss\":3}\n";
    folder.write("two/logs/clip.jsonl", clip);
    let out = folder.0.join("runs.html");
    page::write(&runs, &all(), &out).unwrap();
    let html = fs::read_to_string(&out).unwrap();
    assert_eq!(html.matches("<figure class=\"chart\">").count(), 5 + 1);
    assert!(html.contains("--c0: #2d45d1; --c1: #f56900;"), "our colours are in");
    assert!(
        html.contains("vae.training.learning_rate") && html.contains("★") && html.contains("Curves: clip")
    );
    assert!(html.contains("no values"), "one has no CLIP");
    assert!(!html.contains("NaN") && !html.contains("<div class=\"charts\">\n</div>"));
    let charts = html.find("<figure").unwrap();
    assert!(html.find("<table>").unwrap() < charts, "the comparison stands above the curves");

    let loss = PlotOptions { metric: Some("loss".into()), ..all() };
    let single = page::report(&runs[..1], &loss).unwrap().to_html().unwrap();
    assert_eq!(single.matches("<figure class=\"chart\">").count(), 1);
    assert!(matches!(page::write(&runs, &all(), &folder.0), Err(Error::Argument { .. })));
}

#[test]
fn sizes_and_ages_are_round() {
    for (bytes, text) in
        [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_600, "1.0 MB"), (12_345_678, "12 MB")]
    {
        assert_eq!(text::size(bytes), text);
    }
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(10_000_000);
    for (seconds, text) in [(5, "just now"), (60, "1 min ago"), (7300, "2 h ago"), (200_000, "2 days ago")] {
        assert_eq!(text::ago(now - Duration::from_secs(seconds), now), text);
    }
    assert_eq!(text::ago(now + Duration::from_secs(5), now), "just now");
}
