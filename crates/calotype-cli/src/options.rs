//! Options that every verb has.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use calotype::data::parquet::Columns;
use calotype::machine::Machine;
use calotype::nn::Precision;
use calotype::{Error, Result};
use clap::ValueEnum;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use crate::progress::Bars;

/// Options that every verb has.
#[derive(clap::Args)]
pub struct Common {
    /// Where the networks run
    #[arg(long, global = true, value_enum, default_value_t = DeviceName::Cpu)]
    pub device: DeviceName,
    /// Threads on the CPU; the result does not depend on it [default: all cores]
    #[arg(long, global = true, value_name = "N")]
    pub threads: Option<usize>,
    /// Print one JSON object on stdout, messages on stderr
    #[arg(long, global = true)]
    pub json: bool,
}

/// Devices that a build may have.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeviceName {
    /// The processor
    Cpu,
    /// NVIDIA (cargo feature `cuda`)
    Cuda,
    /// Apple (cargo feature `metal`)
    Metal,
    /// Any GPU with a Vulkan driver (cargo feature `vulkan`)
    Vulkan,
}

impl DeviceName {
    /// Those that this build has.
    pub fn of_this_build() -> Vec<Self> {
        let here = |device: &Self| match device {
            Self::Cpu => true,
            Self::Cuda => cfg!(feature = "cuda"),
            Self::Metal => cfg!(feature = "metal"),
            Self::Vulkan => cfg!(feature = "vulkan"),
        };
        Self::value_variants().iter().copied().filter(here).collect()
    }

    /// As `--device` takes it.
    pub fn name(self) -> String {
        self.to_possible_value().map_or(String::new(), |value| value.get_name().to_owned())
    }
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
        let (device, device_name) = (device(common.device)?, common.device);
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

fn device(name: DeviceName) -> Result<burn::tensor::Device> {
    match name {
        DeviceName::Cpu => Ok(burn::tensor::Device::flex()),
        #[cfg(feature = "cuda")]
        DeviceName::Cuda => Ok(burn::tensor::Device::cuda(0)),
        #[cfg(feature = "metal")]
        DeviceName::Metal => Ok(burn::tensor::Device::metal(burn::tensor::DeviceKind::DefaultDevice)),
        #[cfg(feature = "vulkan")]
        DeviceName::Vulkan => Ok(burn::tensor::Device::vulkan(burn::tensor::DeviceKind::DefaultDevice)),
        #[cfg(not(all(feature = "cuda", feature = "metal", feature = "vulkan")))]
        other => {
            let name = other.name();
            Err(Error::argument(
                "--device",
                format!("cpu, or a build with `cargo build --features {name}`"),
                name,
            ))
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
