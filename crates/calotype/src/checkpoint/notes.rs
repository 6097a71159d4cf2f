//! What a user should know of a model's files: tensors that are left out, and what is taken for what they do not say.

use super::Checkpoint;
use super::single_file::Architecture;
use super::single_file::unneeded::owner;
use crate::diffusion::SchedulerClass;

/// Owners of what is left out that are named; beyond these, their number.
const MOST_OWNERS: usize = 10;

/// What a single file does not say, and what is taken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Taken {
    /// The family whose usual scheduler is taken, where no scheduler is written in the file.
    pub scheduler_of: Option<Architecture>,
    /// Averages of the U-Net's weights, where the weights themselves are not there.
    pub averages: bool,
}

impl Checkpoint {
    /// Each in a line, the warnings among them marked as such.
    ///
    /// - `class`: the sampler that is asked for, if one is: what the scheduler leaves open is its own.
    pub fn notes(&self, class: Option<SchedulerClass>) -> Vec<String> {
        let path = self.path.display();
        let left_out = left_out(&self.left_out).map(|owners| format!("warning: {path}: {owners}"));
        let averages = self.taken.averages.then(|| {
            format!("{path}: it has the averages of the U-Net's weights (`model_ema`) alone, which are taken")
        });
        let scheduler = self.taken.scheduler_of.and_then(|family| self.scheduler_note(family, class));
        let scheduler = scheduler.map(|taken| format!("{path}: {taken}"));
        left_out.into_iter().chain(averages).chain(scheduler).collect()
    }

    /// `None` for a scheduler that cannot be read, which is an error elsewhere.
    fn scheduler_note(&self, family: Architecture, class: Option<SchedulerClass>) -> Option<String> {
        let config = self.scheduler_config().ok()?;
        let config = config.sampled_by(class.unwrap_or(config.class_name));
        let [prediction, spacing] = [
            serde_json::to_value(config.prediction_type).ok()?,
            serde_json::to_value(config.timestep_spacing).ok()?,
        ];
        Some(format!(
            "it has no scheduler_config.json; as {family} usually has them, prediction_type is {prediction} and \
             timestep_spacing {spacing}"
        ))
    }
}

/// What is left out, by what it belongs to: `vision_model.…` (197 tensors).
fn left_out(names: &[String]) -> Option<String> {
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.sort_by_key(|name| (owner(name), *name));
    let owners: Vec<&[&str]> = names.chunk_by(|one, next| owner(one) == owner(next)).collect();
    let named = |of_one: &&[&str]| match **of_one {
        [name] => format!("`{name}`"),
        _ => format!("`{}…` ({})", owner(of_one[0]), of_one.len()),
    };
    let mut list: Vec<String> = owners.iter().take(MOST_OWNERS).map(named).collect();
    if owners.len() > MOST_OWNERS {
        list.push(format!("and {} more", owners.len() - MOST_OWNERS));
    }
    let what = match names.len() {
        0 => return None,
        1 => "a tensor that is no part of the model is left out".to_owned(),
        count => format!("{count} tensors that are no part of the model are left out"),
    };
    Some(format!("{what}: {}", list.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::left_out;

    #[test]
    fn what_is_left_out_is_listed_by_what_it_belongs_to() {
        let of = |names: &[&str]| left_out(&names.iter().map(|name| name.to_string()).collect::<Vec<_>>());
        assert_eq!(of(&[]), None);
        assert_eq!(
            of(&["logit_scale"]).unwrap(),
            "a tensor that is no part of the model is left out: `logit_scale`"
        );
        let names = [
            "optimizer_states.0.exp_avg",
            "cond_stage_model.transformer.vision_model.b",
            "embedding_manager.initial_embeddings.*",
            "cond_stage_model.logit_scale",
            "cond_stage_model.transformer.vision_model.a.weight",
        ];
        let listed = "`cond_stage_model.logit_scale`, `cond_stage_model.transformer.vision_model…` (2), \
                      `embedding_manager.initial_embeddings.*`, `optimizer_states.0.exp_avg`";
        assert_eq!(
            of(&names).unwrap(),
            format!("5 tensors that are no part of the model are left out: {listed}")
        );
        let many: Vec<String> = (0..12).map(|i| format!("{i:02}.visual.proj")).collect();
        let many = left_out(&many).unwrap();
        assert!(many.ends_with("`09.visual.proj`, and 2 more"), "{many}");
    }
}
