//! What the tests of the library and of the command line share: a folder that goes away, a recipe
//! that takes seconds, and the model that it makes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use burn::tensor::Device;
use calotype::Result;
use calotype::data::emoji_scenes::Split;
use calotype::data::pictures::Scenes;
use calotype::data::source::TrainingSet;
use calotype::progress::Silent;
use calotype::ranks::Alone;
use calotype::runs::folder::{RunFolder, TrainedPart};
use calotype::trainer::denoiser::base_model::BaseModel;
use calotype::trainer::objective::Blind;
use calotype::trainer::{Recipe, Session, autoencoder, clip, denoiser};

#[path = "../../src/testing/gguf_file.rs"]
mod gguf_file;
#[path = "../../src/testing/temp_dir.rs"]
mod temp_dir;

pub use gguf_file::GgufFile;
pub use temp_dir::TempDir;

/// 20 steps of each part, a checkpoint every 5; lines are logged for steps 0, 10 and 19.
pub const TINY: &str = include_str!("tiny.toml");

type Train = fn(&Recipe, &TrainingSet, Session) -> Result<()>;

/// A part of the model, and what it writes and reads in the model folder.
pub struct Part {
    pub trained: TrainedPart,
    train: Train,
    pub writes: &'static [&'static str],
    pub reads: &'static [&'static str],
}

pub const VAE: Part = Part {
    trained: TrainedPart::Vae,
    train: |recipe, data, session| autoencoder::train(recipe, data, session, &Blind),
    writes: &["vae"],
    reads: &[],
};
pub const CLIP: Part = Part {
    trained: TrainedPart::Clip,
    train: |recipe, data, session| {
        let tokenizer = clip::tokenizer(recipe.clip()?, data)?;
        clip::train(recipe, tokenizer, data, session, &Blind)
    },
    writes: &["clip", "text_encoder", "tokenizer"],
    reads: &[],
};
pub const DIFFUSION: Part = Part {
    trained: TrainedPart::Diffusion,
    train: |recipe, data, session| {
        let base = BaseModel::load(recipe, session.run, session.device)?;
        denoiser::train(recipe, &base, data, session, &Blind)
    },
    writes: &["unet", "scheduler", "model_index.json"],
    reads: &["vae", "text_encoder", "tokenizer"],
};

impl Part {
    pub fn name(&self) -> &'static str {
        self.trained.name()
    }

    /// Trains the part on the recipe's embedded data.
    pub fn train(&self, recipe: &Recipe, session: Session) -> Result<()> {
        let cached = recipe.diffusion()?.cached_scenes.unwrap_or(0) as u64;
        let members = (self.trained == TrainedPart::Diffusion).then(|| (0..cached).collect());
        (self.train)(recipe, &scenes(recipe, members)?, session)
    }
}

/// The recipe's embedded data.
pub fn scenes(recipe: &Recipe, members: Option<Vec<u64>>) -> Result<TrainingSet> {
    let scenes = Arc::new(Scenes { scenes: recipe.scenes()?, split: Split::Train });
    TrainingSet::new(scenes, members, recipe.seed, recipe.data.size, recipe.data.transform)
}

/// A training of `run` that nobody watches, on one thread.
pub fn session(run: &RunFolder, resume: bool) -> Session<'_> {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    let device = DEVICE.get_or_init(Device::flex);
    Session {
        run,
        threads: 1,
        workers: 0,
        resume,
        preflight: false,
        device,
        progress: &Silent,
        ranks: &Alone,
    }
}

/// [`TINY`] with other lines: `("steps = 20", "steps = 1")`.
pub fn recipe(changes: &[(&str, &str)]) -> Recipe {
    let mut text = TINY.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "the recipe has no `{from}`");
        text = text.replace(from, to);
    }
    Recipe::parse(Path::new("tiny.toml"), &text).unwrap()
}

/// Every file of a folder, by its path from there.
pub fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(inside) = folders.pop() {
        for entry in fs::read_dir(inside).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path)
            } else {
                let bytes = fs::read(&path).unwrap();
                found.insert(path.strip_prefix(folder).unwrap().to_owned(), bytes);
            }
        }
    }
    found
}

/// The model folder of [`TINY`], trained once without a break on one thread: what every other way to
/// train it must give, byte for byte.
pub fn reference() -> &'static BTreeMap<PathBuf, Vec<u8>> {
    static MODEL: OnceLock<BTreeMap<PathBuf, Vec<u8>>> = OnceLock::new();
    MODEL.get_or_init(|| {
        let dir = TempDir::new();
        let run = RunFolder::new(dir.join("run"));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        for part in [VAE, CLIP, DIFFUSION] {
            pool.install(|| part.train(&recipe(&[]), session(&run, false))).unwrap();
        }
        files(&run.model())
    })
}

/// The files of [`reference`] in some components' folders.
pub fn components(names: &[&str]) -> BTreeMap<PathBuf, Vec<u8>> {
    let wanted = |path: &Path| names.iter().any(|name| path.starts_with(name));
    reference().iter().filter(|(path, _)| wanted(path)).map(|(p, b)| (p.clone(), b.clone())).collect()
}

/// Writes a copy of [`reference`], which a test may then spoil.
pub fn write_model(folder: &Path) {
    write_files(folder, reference());
}

pub fn write_files(folder: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) {
    for (path, bytes) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// Fails, naming the files, unless `folder` holds the `expected` files and maybe others.
pub fn assert_holds(folder: &Path, expected: &BTreeMap<PathBuf, Vec<u8>>, context: &str) {
    for (path, bytes) in expected {
        let got =
            fs::read(folder.join(path)).unwrap_or_else(|e| panic!("{context}: {}: {e}", path.display()));
        assert!(got == *bytes, "{context}: {} differs", path.display());
    }
}
