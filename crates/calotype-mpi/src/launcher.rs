//! What the launcher (`mpirun`, `srun`) says of this process, in its environment.

/// What a launcher says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launched {
    /// How many ranks there are.
    pub count: usize,
    /// Which one this process is, where that is said.
    pub rank: Option<usize>,
    /// The variable that has the count.
    pub variable: &'static str,
}

/// Variables of a count and of a rank. The launcher that was started last comes first: `mpirun` runs inside Slurm's jobs.
const VARIABLES: [(&str, &str); 4] = [
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"), // Open MPI's mpirun
    ("PMI_SIZE", "PMI_RANK"),                         // MPICH's, Intel's; srun --mpi=pmi2
    ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),         // srun
    ("SLURM_NTASKS", "SLURM_PROCID"), // srun, if there is a step; else only what the job may use
];
/// Without it, Slurm's variables are those of a job's script or shell, which is one process of its own.
const STEP: &str = "SLURM_STEP_ID";

/// How many ranks the launcher says there are, from this process's environment; `None` without a launcher.
#[must_use]
pub fn launched() -> Option<Launched> {
    by(|name| std::env::var(name).ok())
}

/// The same of another environment.
fn by(variable: impl Fn(&str) -> Option<String>) -> Option<Launched> {
    let number = |name: &str| variable(name)?.trim().parse::<usize>().ok();
    VARIABLES.into_iter().find_map(|(size, rank)| {
        if size.starts_with("SLURM") && variable(STEP).is_none() {
            return None;
        }
        let count = number(size).filter(|count| *count > 0)?;
        Some(Launched { count, rank: number(rank).filter(|rank| *rank < count), variable: size })
    })
}

/// Whether the launcher is one of MPICH's kind, whose library is then to be tried first.
pub(crate) fn is_like_mpich() -> bool {
    launched().is_some_and(|launched| launched.variable == "PMI_SIZE")
}

#[cfg(test)]
mod tests {
    use super::{Launched, by};

    fn of(environment: &[(&str, &str)]) -> Option<Launched> {
        by(|name| environment.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn each_launcher_is_understood() {
        let launched = |count, rank, variable| Some(Launched { count, rank, variable });
        assert_eq!(of(&[]), None);
        let open_mpi = [("OMPI_COMM_WORLD_SIZE", "4"), ("OMPI_COMM_WORLD_RANK", "3")];
        assert_eq!(of(&open_mpi), launched(4, Some(3), "OMPI_COMM_WORLD_SIZE"));
        assert_eq!(of(&[("PMI_SIZE", "2"), ("PMI_RANK", "0")]), launched(2, Some(0), "PMI_SIZE"));
        assert_eq!(of(&[("PMI_SIZE", " 2\n")]), launched(2, None, "PMI_SIZE"));
    }

    #[test]
    fn a_job_of_slurm_is_no_launcher_before_its_step() {
        let job = [("SLURM_NTASKS", "8"), ("SLURM_PROCID", "0")];
        assert_eq!(of(&job), None);
        let step = [("SLURM_STEP_ID", "0"), ("SLURM_NTASKS", "8"), ("SLURM_PROCID", "5")];
        let expected = Launched { count: 8, rank: Some(5), variable: "SLURM_NTASKS" };
        assert_eq!(of(&step), Some(expected));
        // A step may be smaller than its job.
        let smaller = [&step[..], &[("SLURM_STEP_NUM_TASKS", "6")]].concat();
        assert_eq!(of(&smaller), Some(Launched { count: 6, variable: "SLURM_STEP_NUM_TASKS", ..expected }));
        // mpirun starts a daemon on each node with srun, and its ranks under that.
        let under = [&smaller[..], &[("OMPI_COMM_WORLD_SIZE", "16")]].concat();
        assert_eq!(of(&under).map(|launched| launched.count), Some(16));
    }

    #[test]
    fn what_is_no_number_says_nothing() {
        assert_eq!(of(&[("PMI_SIZE", "many")]), None);
        assert_eq!(of(&[("PMI_SIZE", "0")]), None);
        assert_eq!(of(&[("PMI_SIZE", "-1")]), None);
        // A rank that is none of the count's is left out.
        assert_eq!(of(&[("PMI_SIZE", "2"), ("PMI_RANK", "2")]).and_then(|launched| launched.rank), None);
    }
}
