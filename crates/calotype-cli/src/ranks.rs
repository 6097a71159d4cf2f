//! `--ranks mpi`: one of many processes that work as one.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use calotype::ranks::agreement::require_same;
use calotype::ranks::mpi::Mpi;
use calotype::ranks::{Alone, Ranks, is_root};
use calotype::{Error, Result};
use clap::ValueEnum;
use serde_json::json;

use crate::options::Context;

/// How long ranks that have nothing to say wait for rank 0 to say it and leave first, where nobody ends them then.
const ROOT_SPEAKS: Duration = Duration::from_secs(5);

/// Who the others are.
#[derive(clap::Args)]
pub struct RankOptions {
    /// Train as one of many processes that mpirun or srun has started
    #[arg(long, value_enum, default_value_t = RanksName::Alone, value_name = "NAME")]
    ranks: RanksName,
    /// MPI's library [default: the first that the system has]
    #[arg(long, value_name = "FILE", requires = "ranks")]
    mpi_library: Option<PathBuf>,
    /// Seconds that a rank waits for the others before it gives up
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..))]
    rank_timeout: u64,
}

/// What connects the ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RanksName {
    /// Nothing: this is the only process
    Alone,
    /// The MPI that is installed: Open MPI, MPICH, or one of the standard ABI
    Mpi,
}

impl RankOptions {
    /// Does `work` as the rank that this process is. Of several, rank 0 alone writes on the terminal.
    pub fn with(
        &self,
        context: &Context,
        work: impl FnOnce(&dyn Ranks, &Context) -> Result<()>,
    ) -> Result<()> {
        if self.ranks == RanksName::Alone {
            if let Some(launched) = calotype_mpi::launched().filter(|launched| launched.count > 1) {
                context.bars.say(&format!(
                    "{} = {}, but without `--ranks mpi` each of these processes trains alone",
                    launched.variable, launched.count
                ));
            }
            return work(&Alone, context);
        }
        let mpi = Mpi::join(self.mpi_library.as_deref(), Duration::from_secs(self.rank_timeout))?;
        if is_root(&mpi) {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            let (count, library, threads) = (mpi.count(), mpi.library(), context.threads);
            context.bars.say(&format!(
                "{count} ranks, {threads} threads each on {cores} cores that they may use, {library}"
            ));
        } else {
            context.bars.hide();
        }
        let begun = Instant::now();
        // Another version may exchange other bytes.
        let same = require_same(&mpi, &json!({ "commit": env!("CALOTYPE_COMMIT") }));
        match same.and_then(|()| work(&mpi, context)) {
            Ok(()) => {
                if is_root(&mpi) {
                    let (all, exchanging) = (begun.elapsed(), mpi.exchanging());
                    context.bars.say(&format!(
                        "{:.1} of {:.1} s went to exchanges, waiting for the other ranks among it",
                        exchanging.as_secs_f64(),
                        all.as_secs_f64()
                    ));
                }
                mpi.finalize()
            }
            // Rank 0 says it for all, and must have: a launcher ends all ranks when the first leaves with a fault.
            Err(Error::OtherRank { .. }) if !is_root(&mpi) => context.bars.leave_after(ROOT_SPEAKS),
            Err(error) => Err(error),
        }
    }
}
