//! A recipe cut short, to time it.

use super::{Recipe, TrainingRecipe};

impl Recipe {
    /// The same with at most so many steps in each part and so many embedded scenes, without validations and what serves
    /// other trainings. A discriminator that counts at some time counts from the first step on.
    pub(crate) fn shortened(&self, steps: usize, scenes: usize) -> Self {
        let mut short = self.clone();
        let cut = |training: &mut TrainingRecipe| {
            training.steps = training.steps.min(steps);
            (training.validate_every, training.best, training.ema_snapshots) = (0, None, None);
        };
        if let Some(vae) = &mut short.vae {
            let steps = vae.training.steps;
            if let Some(adversarial) = vae.adversarial.as_mut().filter(|own| own.start < steps) {
                adversarial.start = 0;
            }
            cut(&mut vae.training);
        }
        if let Some(clip) = &mut short.clip {
            cut(&mut clip.training);
        }
        if let Some(diffusion) = &mut short.diffusion {
            diffusion.cached_scenes = diffusion.cached_scenes.map(|count| count.min(scenes));
            cut(&mut diffusion.training);
        }
        short
    }
}
