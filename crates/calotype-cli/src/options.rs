//! Options that every verb has.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use calotype::data::parquet::Columns;
use calotype::machine::Machine;
use calotype::machine::device_name::DeviceName;
use calotype::nn::Precision;
use calotype::{Error, Result};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use crate::progress::Bars;

/// Options that every verb has.
#[derive(clap::Args)]
pub struct Common {
    /// Where the networks run: cpu, gpu or cuda, the second GPU gpu:1; `bench --system` lists what there is
    #[arg(long, global = true, value_name = "NAME", default_value_t = DeviceName::CPU)]
    pub device: DeviceName,
    /// Threads on the CPU; the result does not depend on it [default: all cores]
    #[arg(long, global = true, value_name = "N")]
    pub threads: Option<usize>,
    /// Print one JSON object on stdout, messages on stderr
    #[arg(long, global = true)]
    pub json: bool,
}

/// What the verbs get.
pub struct Context {
    /// The device of the networks.
    pub device: burn::tensor::Device,
    /// What it is called.
    pub device_name: DeviceName,
    /// Threads of the process.
    pub threads: usize,
    /// Whether to print JSON.
    pub json: bool,
    /// Progress bars and Ctrl-C.
    pub bars: Bars,
}

impl Context {
    /// As the library has it.
    pub fn machine(&self) -> Machine<'_> {
        Machine { device: &self.device, threads: self.threads, progress: &self.bars }
    }

    /// Sets up threads and device.
    ///
    /// # Errors
    /// `Error::Argument` for no threads or a device that this build does not have.
    pub fn new(common: &Common) -> Result<Self> {
        let available = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = common.threads.unwrap_or(available);
        if threads == 0 {
            return Err(Error::argument("--threads", "at least 1", threads));
        }
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global()
            .map_err(|e| Error::argument("--threads", "a number of threads that the system grants", e))?;
        let (device, device_name) = (common.device.open()?, common.device);
        Ok(Self { device, device_name, threads, json: common.json, bars: Bars::new() })
    }
}

/// Where a result goes.
pub struct Destination {
    /// The file or folder.
    pub path: PathBuf,
    /// Whether the user has not named it.
    new: bool,
}

impl Destination {
    /// The path that the user gave; or `NAME.EXTENSION` in the current folder, NAME-2, NAME-3, … where that is taken.
    pub fn new(given: Option<&Path>, name: &str, extension: &str) -> Self {
        if let Some(path) = given {
            return Self { path: path.to_owned(), new: false };
        }
        let mut path = PathBuf::from(format!("{name}{extension}"));
        let mut number = 2;
        while path.exists() {
            path = PathBuf::from(format!("{name}-{number}{extension}"));
            number += 1;
        }
        Self { path, new: true }
    }

    /// Says where a result lies that the user has not named.
    pub fn say(&self, context: &Context) {
        if self.new {
            context.bars.say(&format!("written: {}", self.path.display()));
        }
    }
}

/// Which columns of parquet files hold pictures and captions, where it is not clear.
#[derive(clap::Args)]
pub struct ColumnOptions {
    /// Column of captions in parquet files [default: found by its name]
    #[arg(long, value_name = "NAME")]
    caption_column: Option<String>,
    /// Column of pictures in parquet files [default: found by its type or name]
    #[arg(long, value_name = "NAME")]
    image_column: Option<String>,
}

impl ColumnOptions {
    /// As the library has them.
    pub fn columns(&self) -> Columns {
        Columns { image: self.image_column.clone(), text: self.caption_column.clone() }
    }
}

/// Takes one of the library's named values: names and what they mean, as clap lists them.
pub fn one_of<T>(
    values: impl IntoIterator<Item = (&'static str, &'static str)>,
) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err = Error> + Clone + Send + Sync + 'static,
{
    let values = values.into_iter().map(|(name, about)| PossibleValue::new(name).help(about));
    PossibleValuesParser::new(values).try_map(|name| name.parse::<T>())
}

/// Precisions, for the help.
pub fn precision() -> impl TypedValueParser<Value = Precision> {
    one_of(Precision::ALL.map(|precision| (precision.name(), precision.about())))
}
