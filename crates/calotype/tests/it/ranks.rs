//! Several ranks train what one process trains, bit for bit: here threads that exchange bytes as processes do.

use std::borrow::Cow;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Barrier, Mutex};

use calotype::data::pictures::Pictures;
use calotype::data::source::TrainingSet;
use calotype::files::NamedTensor;
use calotype::progress::Progress;
use calotype::ranks::{Alone, Ranks};
use calotype::runs::folder::{RunFolder, TrainedPart, files_by_steps};
use calotype::trainer::denoiser::{self, base_model::BaseModel};
use calotype::trainer::metrics_log::read_series;
use calotype::trainer::objective::Blind;
use calotype::trainer::optimizer::{Optimizer, OptimizerConfig};
use calotype::trainer::{Recipe, Session, autoencoder};
use calotype::{Error, Result};
use calotype_kernels::memory::Buffer;
use image::RgbImage;

use crate::support::{self, CLIP, DIFFUSION, Part, TempDir, VAE, components, files, recipe, write_files};

/// Where ranks meet for each exchange.
struct Meeting {
    brought: Vec<Mutex<Vec<u8>>>,
    barrier: Barrier,
}

impl Meeting {
    fn new(count: usize) -> Self {
        Self { brought: (0..count).map(|_| Mutex::default()).collect(), barrier: Barrier::new(count) }
    }

    /// What every rank has brought.
    fn exchange(&self, rank: usize, bytes: Vec<u8>) -> Vec<Vec<u8>> {
        *self.brought[rank].lock().unwrap() = bytes;
        self.barrier.wait();
        let all = self.brought.iter().map(|brought| brought.lock().unwrap().clone()).collect();
        self.barrier.wait();
        all
    }
}

/// A thread that takes part.
struct Member<'a> {
    rank: usize,
    meeting: &'a Meeting,
}

impl Ranks for Member<'_> {
    fn rank(&self) -> usize {
        self.rank
    }

    fn count(&self) -> usize {
        self.meeting.brought.len()
    }

    fn all_to_all(&self, send: Buffer, to: &[usize], from: &[usize]) -> Result<Buffer> {
        assert_eq!(send.len(), to.iter().sum::<usize>());
        let begin = |to: &[usize], rank: usize| to[..rank].iter().sum::<usize>();
        let lengths: Vec<u8> = to.iter().flat_map(|length| length.to_le_bytes()).collect();
        let lengths = self.meeting.exchange(self.rank, lengths);
        let sent = self.meeting.exchange(self.rank, bytemuck::cast_slice(&send).to_vec());
        let mut received: Vec<f32> = Vec::new();
        for ((bytes, lengths), expected) in sent.iter().zip(&lengths).zip(from) {
            let to: Vec<usize> =
                lengths.chunks_exact(8).map(|b| usize::from_le_bytes(b.try_into().unwrap())).collect();
            assert_eq!(to[self.rank], *expected, "a rank expects another length than is sent");
            let begin = begin(&to, self.rank);
            let bytes = &bytes[4 * begin..4 * (begin + expected)];
            received.extend(bytemuck::pod_collect_to_vec::<u8, f32>(bytes));
        }
        Ok(received.into())
    }

    fn all_gather(&self, all: Buffer, counts: &[usize]) -> Result<Buffer> {
        let begin: usize = counts[..self.rank].iter().sum();
        let own = &all[begin..begin + counts[self.rank]];
        let counts: Vec<usize> = counts.iter().map(|count| 4 * count).collect();
        let all = self.all_gather_bytes(bytemuck::cast_slice(own).to_vec(), &counts)?;
        Ok(bytemuck::pod_collect_to_vec::<u8, f32>(&all).into())
    }

    fn all_gather_bytes(&self, send: Vec<u8>, counts: &[usize]) -> Result<Vec<u8>> {
        assert_eq!(send.len(), counts[self.rank]);
        let all = self.meeting.exchange(self.rank, send);
        assert!(all.iter().map(Vec::len).eq(counts.iter().copied()));
        Ok(all.concat())
    }

    fn broadcast(&self, bytes: Vec<u8>) -> Result<Vec<u8>> {
        let length = bytes.len();
        let mut all = self.meeting.exchange(self.rank, bytes);
        assert_eq!(all[0].len(), length);
        Ok(all.swap_remove(0))
    }
}

/// Stops one rank after so many steps.
struct StopAfter(Option<usize>, Mutex<usize>);

impl Progress for StopAfter {
    fn begin(&self, _: &str, _: usize, _: usize) {}
    fn step(&self, step: usize, message: &str) {
        if !message.is_empty() {
            *self.1.lock().unwrap() = step;
        }
    }
    fn end(&self, _: &str) {}
    fn say(&self, _: &str) {}
    fn interrupted(&self) -> bool {
        self.0.is_some_and(|last| *self.1.lock().unwrap() == last)
    }
}

/// A training of `part` by `count` ranks; what each says. Rank 0 writes `run`; the last of them is stopped after some steps.
fn train(
    part: &Part,
    recipe: &Recipe,
    run: (&RunFolder, bool),
    count: usize,
    stop: Option<usize>,
) -> Vec<Result<()>> {
    among(run, count, stop, |session| part.train(recipe, session))
}

/// The same of what `train` trains.
fn among(
    (run, resume): (&RunFolder, bool),
    count: usize,
    stop: Option<usize>,
    train: impl Fn(Session) -> Result<()> + Sync,
) -> Vec<Result<()>> {
    let train = &train;
    let meeting = Meeting::new(count);
    std::thread::scope(|scope| {
        let rank = |rank: usize| {
            let meeting = &meeting;
            scope.spawn(move || {
                let progress = StopAfter(stop.filter(|_| rank == count - 1), Mutex::default());
                let member = Member { rank, meeting };
                let ranks: &dyn Ranks = if count == 1 { &Alone } else { &member };
                let session = Session { ranks, progress: &progress, ..support::session(run, resume) };
                let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
                pool.install(|| train(session))
            })
        };
        let ranks: Vec<_> = (0..count).map(rank).collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

fn run_for(dir: &TempDir, name: &str, part: &Part) -> RunFolder {
    let run = RunFolder::new(dir.join(name));
    write_files(&run.model(), &components(part.reads));
    run
}

/// What a training leaves.
#[derive(PartialEq)]
struct Left {
    model: Vec<(String, Vec<u8>)>,
    checkpoint: Vec<u8>,
    losses: Vec<(f64, f64)>,
}

fn left(run: &RunFolder, part: TrainedPart) -> Left {
    let model = files(&run.model()).into_iter().map(|(path, bytes)| (path.display().to_string(), bytes));
    let (_, newest) = files_by_steps(&run.checkpoints(part)).unwrap().pop().unwrap();
    let losses = read_series(&run.log(part), "loss").unwrap();
    Left { model: model.collect(), checkpoint: fs::read(newest).unwrap(), losses }
}

/// In four shares.
fn in_four() -> Recipe {
    let clip = "[clip.training]\nsteps = 20\n";
    recipe(&[("parts = 2", "parts = 4"), (clip, &format!("{clip}parts = 4\n"))])
}

#[test]
fn any_number_of_ranks_trains_the_same_bits() {
    let dir = TempDir::new();
    for part in [VAE, CLIP, DIFFUSION] {
        let alone = run_for(&dir, &format!("{}-alone", part.name()), &part);
        train(&part, &in_four(), (&alone, false), 1, None).into_iter().for_each(|done| done.unwrap());
        let expected = left(&alone, part.trained);
        for count in 2..=4 {
            let run = run_for(&dir, &format!("{}-{count}", part.name()), &part);
            train(&part, &in_four(), (&run, false), count, None).into_iter().for_each(|done| done.unwrap());
            let got = left(&run, part.trained);
            for (got, expected) in got.model.iter().zip(&expected.model) {
                assert!(got == expected, "{}: {} differs on {count} ranks", part.name(), expected.0);
            }
            assert_eq!(got.model.len(), expected.model.len());
            assert!(
                got.checkpoint == expected.checkpoint,
                "{}: the checkpoint differs on {count} ranks",
                part.name()
            );
            assert_eq!(got.losses, expected.losses);
        }
    }
}

/// Fine-tuning of a small Stable Diffusion, in four shares.
fn fine_tuning(lines: &str) -> Recipe {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/fine_tuning/pipeline");
    let text = format!(
        r#"
        seed = 3
        model = "{}"
        [data]
        size = 32
        max_objects = 1
        [diffusion]
        caption_dropout = 0.1
        {lines}
        [diffusion.training]
        steps = 6
        batch_size = 4
        parts = 4
        learning_rate = 1e-3
        warm_up = 2
        lr_schedule = "constant"
        checkpoint_every = 3
        log_every = 1
        "#,
        model.display()
    );
    Recipe::parse(Path::new("fine_tuning.toml"), &text).unwrap()
}

#[test]
fn so_do_a_lora_and_a_network_whose_activations_are_computed_again() {
    let dir = TempDir::new();
    let lora = "lora = { rank = 4, alpha = 8.0, unet = [\"to_q\", \"to_v\"], text_encoder = [\"q_proj\"] }";
    for (name, lines) in [("lora", lora), ("recomputed", "gradient_checkpointing = true")] {
        let recipe = fine_tuning(lines);
        let data = support::scenes(&recipe, Some((0..16).collect())).unwrap();
        let trained = |count: usize| {
            let run = RunFolder::new(dir.join(format!("{name}-{count}")));
            let done = among((&run, false), count, None, |session| {
                let base = BaseModel::load(&recipe, session.run, session.device)?;
                denoiser::train(&recipe, &base, &data, session, &Blind)
            });
            done.into_iter().for_each(|done| done.unwrap());
            left(&run, TrainedPart::Diffusion)
        };
        let alone = trained(1);
        assert_eq!(alone.losses.len(), 6);
        for count in 2..=3 {
            assert!(trained(count) == alone, "{name}: other bits on {count} ranks");
        }
    }
}

/// Eight pictures, one of which cannot be read.
struct OneDamaged {
    damaged: u64,
    /// Who reads, and who has met the damaged one.
    rank: usize,
    met: Arc<Mutex<Vec<usize>>>,
}

impl Pictures for OneDamaged {
    fn count(&self) -> Option<u64> {
        Some(8)
    }

    fn name(&self, i: u64) -> String {
        format!("picture {i}")
    }

    fn captions(&self, _: u64) -> Cow<'_, [String]> {
        Cow::Owned(vec!["a gradient".into()])
    }

    fn picture(&self, i: u64, _: [u8; 3]) -> Result<RgbImage> {
        if i == self.damaged {
            self.met.lock().unwrap().push(self.rank);
            return Err(Error::data(self.name(i), "a whole file", "half of one"));
        }
        Ok(RgbImage::from_fn(32, 32, |x, y| image::Rgb([x as u8 * 8, y as u8 * 8, i as u8 * 30])))
    }

    fn dimensions(&self, _: u64) -> Result<(u32, u32)> {
        Ok((32, 32))
    }

    fn key(&self, i: u64) -> Result<[u8; 32]> {
        Ok([i as u8; 32])
    }
}

#[test]
fn a_damaged_picture_is_everyones() {
    let dir = TempDir::new();
    let trained = |damaged: u64, most: &str, count: usize| {
        let size = format!("size = 32\nmax_damaged = {most}");
        let recipe = recipe(&[("parts = 2", "parts = 4"), ("size = 32", &size), ("steps = 20", "steps = 6")]);
        let run = RunFolder::new(dir.join(format!("{damaged}-{most}-{count}")));
        let met = Arc::new(Mutex::new(Vec::new()));
        let done = among((&run, false), count, None, |session| {
            let pictures = OneDamaged { damaged, rank: session.ranks.rank(), met: met.clone() };
            let (size, transform) = (recipe.data.size, recipe.data.transform);
            let data = TrainingSet::new(Arc::new(pictures), None, recipe.seed, size, transform)?;
            autoencoder::train(&recipe, &data, session, &Blind)
        });
        let messages: Vec<String> = done
            .into_iter()
            .map(|done| done.err().map_or(String::new(), |error| error.to_string()))
            .collect();
        assert!(messages.iter().all(|message| *message == messages[0]), "{messages:?}");
        let first = met.lock().unwrap()[0];
        (messages.into_iter().next().unwrap(), first, run)
    };
    // Where none is allowed all stop, whoever has met it; where some are, all go on with the one that follows it.
    let mut who = [0, 0];
    for damaged in 0..8 {
        let (alone, ..) = trained(damaged, "0.0", 1);
        let (message, first, _) = trained(damaged, "0.0", 2);
        assert!(alone.contains("damaged pictures: expected at most 0 of 8"), "{alone}");
        assert_eq!(message, alone);
        who[first] += 1;
        if first == 1 && who[1] == 1 {
            let [(alone, _, whole), (message, _, run)] = [1, 2].map(|count| trained(damaged, "0.2", count));
            assert_eq!((alone.as_str(), message.as_str()), ("", ""));
            assert!(left(&run, TrainedPart::Vae) == left(&whole, TrainedPart::Vae), "picture {damaged}");
            let log = |run: &RunFolder| fs::read(run.log(TrainedPart::Vae)).unwrap();
            assert_eq!(log(&run), log(&whole));
        }
    }
    assert!(who.iter().all(|&met| met > 0), "{who:?}");
}

#[test]
fn a_run_goes_on_with_another_number_of_ranks() {
    let dir = TempDir::new();
    for part in [VAE, DIFFUSION] {
        let alone = run_for(&dir, &format!("{}-alone", part.name()), &part);
        train(&part, &in_four(), (&alone, false), 1, None).into_iter().for_each(|done| done.unwrap());
        let run = run_for(&dir, part.name(), &part);
        for (i, error) in train(&part, &in_four(), (&run, false), 4, Some(7)).into_iter().enumerate() {
            let error = error.unwrap_err();
            assert_eq!(error.to_string(), Error::Interrupted { step: 7 }.to_string());
            assert_eq!(matches!(error, Error::OtherRank { .. }), i > 0, "rank 0 speaks for all");
        }
        train(&part, &in_four(), (&run, true), 3, Some(12))
            .into_iter()
            .for_each(|done| assert!(done.is_err()));
        train(&part, &in_four(), (&run, true), 1, Some(15))
            .into_iter()
            .for_each(|done| assert!(done.is_err()));
        train(&part, &in_four(), (&run, true), 2, None).into_iter().for_each(|done| done.unwrap());
        let (got, expected) = (left(&run, part.trained), left(&alone, part.trained));
        assert!(got.model == expected.model, "{}: another model", part.name());
        assert!(got.checkpoint == expected.checkpoint, "{}: another checkpoint", part.name());
    }
}

#[test]
fn all_ranks_stop_with_the_message_of_one_process() {
    let dir = TempDir::new();
    let wild = recipe(&[("parts = 2", "parts = 4"), ("learning_rate = 2e-3", "learning_rate = 1e30")]);
    let message = |count: usize| {
        let run = run_for(&dir, &format!("wild-{count}"), &VAE);
        let errors = train(&VAE, &wild, (&run, false), count, None);
        let messages: Vec<String> = errors.into_iter().map(|error| error.unwrap_err().to_string()).collect();
        assert!(messages.iter().all(|message| *message == messages[0]), "{messages:?}");
        messages.into_iter().next().unwrap()
    };
    let alone = message(1);
    assert!(alone.contains("is not finite at step"), "{alone}");
    for count in 2..=4 {
        assert_eq!(message(count), alone, "{count} ranks");
    }
}

#[test]
fn more_ranks_than_shares_are_refused() {
    let dir = TempDir::new();
    let run = run_for(&dir, "run", &VAE);
    for error in train(&VAE, &recipe(&[]), (&run, false), 3, None) {
        let error = error.unwrap_err().to_string();
        assert_eq!(error, "ranks: expected at most 2, the `parts` of a batch in the recipe, got 3");
    }
    assert!(!run.checkpoints(VAE.trained).exists());
}

#[test]
fn each_rank_keeps_a_share_of_the_optimisers_numbers() {
    let tensor = |i: usize| {
        let shape = vec![8 + i % 5, 16];
        NamedTensor { name: format!("layer {i}"), values: vec![0.0; shape.iter().product()], shape }
    };
    let parameters: Vec<NamedTensor> = (0..40).map(tensor).collect();
    let alone = Optimizer::new(parameters.clone(), OptimizerConfig::default()).numbers();
    let meeting = Meeting::new(4);
    let numbers = [0, 1, 2, 3].map(|rank| {
        Optimizer::among(parameters.clone(), OptimizerConfig::default(), &Member { rank, meeting: &meeting })
            .numbers()
    });
    assert_eq!(numbers.iter().sum::<usize>(), alone);
    assert!(numbers.iter().all(|&numbers| 10 * numbers <= 3 * alone), "{numbers:?} of {alone}");
}
