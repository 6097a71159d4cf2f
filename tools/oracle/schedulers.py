"""Whole runs of diffusers' schedulers on recorded model outputs: `diffusers_schedulers.json`.

Each case has a unit-noise start, the outputs that a model would give one after the other, the noise that the
scheduler draws, and the final sample. The outputs do not depend on the sample, so nothing but the scheduler's own
arithmetic is compared.

    python tools/oracle/schedulers.py crates/calotype/tests/golden/diffusers_schedulers.json
"""

import importlib
import json
import sys

import diffusers
import numpy as np
import torch

SCHEDULE = dict(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
STEPS = 7
SIZE = 3

# name here: (class, arguments, model calls for n steps)
SAMPLERS = {
    "ddpm": ("DDPMScheduler", dict(clip_sample=False), lambda n: n),
    "ddim": ("DDIMScheduler", dict(clip_sample=False, set_alpha_to_one=False), lambda n: n),
    "euler": ("EulerDiscreteScheduler", {}, lambda n: n),
    "euler-a": ("EulerAncestralDiscreteScheduler", {}, lambda n: n),
    "heun": ("HeunDiscreteScheduler", {}, lambda n: 2 * n - 1),
    "dpm2": ("KDPM2DiscreteScheduler", {}, lambda n: 2 * n - 1),
    "dpm++2m": ("DPMSolverMultistepScheduler", {}, lambda n: n),
    "dpm++2m-sde": ("DPMSolverMultistepScheduler", dict(algorithm_type="sde-dpmsolver++"), lambda n: n),
    "unipc": ("UniPCMultistepScheduler", {}, lambda n: n),
}


def run(name, prediction, spacing, rng):
    class_name, arguments, calls = SAMPLERS[name]
    offset = 1 if spacing == "leading" else 0
    scheduler = getattr(diffusers, class_name)(
        **SCHEDULE, **arguments, prediction_type=prediction, timestep_spacing=spacing, steps_offset=offset
    )
    # diffusers keeps its tables in f32, which is up to 3e-5 off; its arithmetic is what is compared here.
    betas = torch.linspace(SCHEDULE["beta_start"] ** 0.5, SCHEDULE["beta_end"] ** 0.5, 1000, dtype=torch.float64) ** 2
    scheduler.betas, scheduler.alphas = betas, 1 - betas
    scheduler.alphas_cumprod = torch.cumprod(1 - betas, 0)
    if hasattr(scheduler, "final_alpha_cumprod"):
        scheduler.final_alpha_cumprod = scheduler.alphas_cumprod[0]
    scheduler.set_timesteps(STEPS)
    start = rng.standard_normal(SIZE)
    outputs = rng.standard_normal((calls(STEPS), SIZE))
    noises = rng.standard_normal((STEPS, SIZE))

    drawn = []

    def recorded(shape, **_):
        drawn.append(None)
        return torch.tensor(noises[len(drawn) - 1], dtype=torch.float64).reshape(shape)

    module = importlib.import_module(type(scheduler).__module__)
    if hasattr(module, "randn_tensor"):
        module.randn_tensor = recorded
    sample = torch.tensor(start, dtype=torch.float64).reshape(1, 1, 1, SIZE) * float(scheduler.init_noise_sigma)
    assert len(scheduler.timesteps) == len(outputs), (name, len(scheduler.timesteps), len(outputs))
    for t, output in zip(scheduler.timesteps, outputs):
        scheduler.scale_model_input(sample, t)
        output = torch.tensor(output, dtype=torch.float64).reshape(sample.shape)
        sample = scheduler.step(output, t, sample).prev_sample
    return dict(
        sampler=name,
        prediction_type=prediction,
        timestep_spacing=spacing,
        steps_offset=offset,
        steps=STEPS,
        timesteps=[float(t) for t in scheduler.timesteps],
        start=start.tolist(),
        outputs=outputs.tolist(),
        noises=noises[: len(drawn)].tolist(),
        end=sample.flatten().tolist(),
    )


def main():
    rng = np.random.default_rng(0)
    cases, refused = [], []
    for name in SAMPLERS:
        for prediction in ("epsilon", "v_prediction", "sample"):
            for spacing in ("linspace", "leading", "trailing"):
                try:
                    cases.append(run(name, prediction, spacing, rng))
                except (NotImplementedError, ValueError) as error:
                    refused.append(f"{name} {prediction} {spacing}: {error}")
    versions = dict(diffusers=diffusers.__version__, torch=torch.__version__)
    with open(sys.argv[1], "w") as file:
        json.dump(dict(versions=versions, schedule=SCHEDULE, cases=cases), file)
    print(len(cases), "cases;", refused)


main()
