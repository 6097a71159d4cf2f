"""Whole runs of diffusers' schedulers: `diffusers_schedulers.json`.

Each case has the scheduler's configuration as diffusers writes it, a unit-noise start, the outputs that a model would
give one after the other, the noise that the scheduler draws, the timesteps, what the model is given at each, and the
final sample. The outputs do not
depend on the sample, so nothing but the scheduler's own arithmetic is compared. A case with `sampler` is of a class
that no model's folder here may name; with `eta`, DDIM's η. `end` is empty where diffusers' is not finite.

    python tools/oracle/schedulers.py crates/calotype/tests/golden/diffusers_schedulers.json
"""

import importlib
import json
import sys

import diffusers
import numpy as np
import torch

SCHEDULE = dict(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
STEPS = 10
SIZE = 3
PREDICTIONS = ("epsilon", "v_prediction", "sample")
SPACINGS = ("linspace", "leading", "trailing")

# (class, arguments, whether its noise levels can be spaced freely)
SAMPLERS = [
    ("DDPMScheduler", dict(clip_sample=False), False),
    ("DDIMScheduler", dict(clip_sample=False, set_alpha_to_one=False), False),
    ("EulerDiscreteScheduler", {}, True),
    ("EulerAncestralDiscreteScheduler", {}, False),
    ("HeunDiscreteScheduler", {}, True),
    ("KDPM2DiscreteScheduler", {}, True),
    ("DPMSolverMultistepScheduler", {}, True),
    ("DPMSolverMultistepScheduler", dict(algorithm_type="sde-dpmsolver++"), True),
    ("DPMSolverMultistepScheduler", dict(algorithm_type="sde-dpmsolver++", solver_order=3, lower_order_final=False), False),
    ("UniPCMultistepScheduler", {}, True),
    ("LMSDiscreteScheduler", {}, True),
    ("PNDMScheduler", dict(skip_prk_steps=True), False),
    ("PNDMScheduler", dict(skip_prk_steps=False, set_alpha_to_one=True), False),
    ("LCMScheduler", dict(original_inference_steps=50), False),
]


def grid():
    """(class, arguments) of every case."""
    for name, arguments, free in SAMPLERS:
        for prediction in PREDICTIONS:
            for spacing in SPACINGS:
                offset = 1 if spacing == "leading" else 0
                common = dict(SCHEDULE, prediction_type=prediction, timestep_spacing=spacing, steps_offset=offset)
                yield name, common | arguments
        for levels in ("use_karras_sigmas", "use_exponential_sigmas") if free else ():
            for spacing in SPACINGS:
                offset = 1 if spacing == "leading" else 0
                yield name, dict(SCHEDULE, timestep_spacing=spacing, steps_offset=offset, **{levels: True}) | arguments
    for name in ("DDPMScheduler", "DDIMScheduler", "DPMSolverMultistepScheduler", "UniPCMultistepScheduler", "LCMScheduler"):
        yield name, dict(SCHEDULE, thresholding=True, dynamic_thresholding_ratio=0.7, sample_max_value=1.5)
    for name in ("DDPMScheduler", "DDIMScheduler", "HeunDiscreteScheduler", "LCMScheduler"):
        yield name, dict(SCHEDULE, clip_sample=True, clip_sample_range=0.8)
    yield "DDPMScheduler", dict(SCHEDULE, clip_sample=False, variance_type="fixed_large")
    for schedule in ("linear", "squaredcos_cap_v2"):
        yield "EulerDiscreteScheduler", dict(SCHEDULE, beta_schedule=schedule)
    for name in ("DDIMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler"):
        clip = dict(clip_sample=False) if name == "DDIMScheduler" else {}
        zero = dict(rescale_betas_zero_snr=True, prediction_type="v_prediction", timestep_spacing="trailing")
        yield name, SCHEDULE | zero | clip
    for name in ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"):
        for shift in (1.0, 3.0):
            yield name, dict(num_train_timesteps=1000, shift=shift)
    for order, form in ((3, "bh2"), (2, "bh1"), (3, "bh1"), (1, "bh2")):
        for prediction in PREDICTIONS:
            for spacing in SPACINGS:
                common = dict(SCHEDULE, prediction_type=prediction, timestep_spacing=spacing)
                yield "UniPCMultistepScheduler", common | dict(solver_order=order, solver_type=form)
    third = dict(algorithm_type="sde-dpmsolver++", solver_order=3, lower_order_final=False)
    for levels in ("use_karras_sigmas", "use_exponential_sigmas"):
        yield "DPMSolverMultistepScheduler", dict(SCHEDULE, **{levels: True}) | third
    yield "DDPMScheduler", dict(SCHEDULE, beta_schedule="sigmoid", clip_sample=False)
    zero = dict(SCHEDULE, rescale_betas_zero_snr=True, prediction_type="v_prediction", timestep_spacing="trailing")
    yield "DDPMScheduler", zero | dict(clip_sample=False)
    for name in ("EulerAncestralDiscreteScheduler", "UniPCMultistepScheduler", "LCMScheduler"):
        yield name, zero
    for name in ("EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"):
        for prediction in ("epsilon", "v_prediction"):
            for levels in ("karras", "exponential"):
                yield name, dict(sigma_data=0.4, sigma_max=10.0, prediction_type=prediction, sigma_schedule=levels)


def with_eta():
    """(arguments, η) of DDIM's stochastic runs."""
    for prediction in PREDICTIONS:
        for spacing in ("leading", "trailing"):
            yield dict(SCHEDULE, clip_sample=False, prediction_type=prediction, timestep_spacing=spacing), 0.5
    yield dict(SCHEDULE, clip_sample=False), 1.0


def double(scheduler):
    """diffusers keeps its tables in f32, which is up to 3e-5 off; its arithmetic is what is compared here."""
    config, n = scheduler.config, scheduler.config.num_train_timesteps
    if config.beta_schedule == "linear":
        betas = torch.linspace(config.beta_start, config.beta_end, n, dtype=torch.float64)
    elif config.beta_schedule == "scaled_linear":
        betas = torch.linspace(config.beta_start**0.5, config.beta_end**0.5, n, dtype=torch.float64) ** 2
    elif config.beta_schedule == "sigmoid":
        curve = torch.sigmoid(torch.linspace(-6, 6, n, dtype=torch.float64))
        betas = config.beta_start + (config.beta_end - config.beta_start) * curve
    else:
        f = lambda u: np.cos((u + 0.008) / 1.008 * np.pi / 2) ** 2
        betas = torch.tensor([min(1 - f((t + 1) / n) / f(t / n), 0.999) for t in range(n)], dtype=torch.float64)
    cumulative = torch.cumprod(1 - betas, 0)
    if not config.get("rescale_betas_zero_snr"):
        torch.testing.assert_close(scheduler.betas.double(), betas, rtol=1e-4, atol=1e-7)
    if config.get("rescale_betas_zero_snr"):
        roots = cumulative.sqrt()
        cumulative = ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])) ** 2
        if not isinstance(scheduler, (diffusers.DDIMScheduler, diffusers.DDPMScheduler, diffusers.LCMScheduler)):
            cumulative[-1] = 2**-24
    scheduler.betas, scheduler.alphas, scheduler.alphas_cumprod = betas, 1 - betas, cumulative
    if hasattr(scheduler, "final_alpha_cumprod"):
        one = torch.tensor(1.0, dtype=torch.float64)
        scheduler.final_alpha_cumprod = one if config.set_alpha_to_one else cumulative[0]


def run(name, arguments, rng, steps=STEPS, **options):
    """A case; `options` go to every step."""
    scheduler = getattr(diffusers, name)(**arguments)
    if not name.startswith(("Flow", "EDM")):
        double(scheduler)
    scheduler.set_timesteps(steps)
    start = rng.standard_normal(SIZE)
    outputs = rng.standard_normal((len(scheduler.timesteps), SIZE))
    noises = rng.standard_normal((steps, SIZE))
    drawn = []

    def recorded(shape, **_):
        drawn.append(None)
        return torch.tensor(noises[len(drawn) - 1], dtype=torch.float64).reshape(shape)

    module = importlib.import_module(type(scheduler).__module__)
    if hasattr(module, "randn_tensor"):
        module.randn_tensor = recorded
    init = float(getattr(scheduler, "init_noise_sigma", 1.0))
    sample = torch.tensor(start, dtype=torch.float64).reshape(1, 1, 1, SIZE) * init
    inputs = []
    for t, output in zip(scheduler.timesteps, outputs):
        scaled = scheduler.scale_model_input(sample, t) if hasattr(scheduler, "scale_model_input") else sample
        inputs.append(scaled.flatten().tolist())
        output = torch.tensor(output, dtype=torch.float64).reshape(sample.shape)
        sample = scheduler.step(output, t, sample, **options).prev_sample
    # UniPC's bh1 multiplies an infinite B by 0 in a last step to σ = 0; the steps before it are finite.
    end = sample.flatten().tolist() if sample.isfinite().all() else []
    return dict(
        config=scheduler.to_json_string(),
        steps=steps,
        timesteps=[float(t) for t in scheduler.timesteps],
        start=start.tolist(),
        inputs=inputs,
        outputs=outputs.tolist(),
        noises=noises[: len(drawn)].tolist(),
        end=end,
    )


def main():
    rng = np.random.default_rng(0)
    cases, refused = [], []
    for name, arguments in grid():
        try:
            cases.append(run(name, arguments, rng))
        except (NotImplementedError, ValueError, TypeError) as error:
            refused.append(f"{name} {arguments}: {error}")
    for arguments, eta in with_eta():
        cases.append(dict(run("DDIMScheduler", arguments, rng, eta=eta), eta=eta))
    for prediction in PREDICTIONS:
        # Exponential levels put the middle of two at their geometric mean; 10 of our steps ask 19 times.
        arguments = dict(SCHEDULE, prediction_type=prediction, solver_order=2, use_exponential_sigmas=True)
        case = run("DPMSolverSinglestepScheduler", arguments, rng, steps=2 * STEPS - 1)
        cases.append(dict(case, sampler="dpm++2s", steps=STEPS))
    versions = dict(diffusers=diffusers.__version__, torch=torch.__version__)
    with open(sys.argv[1], "w") as file:
        json.dump(dict(versions=versions, cases=cases), file, allow_nan=False)
    print(len(cases), "cases;", *refused, sep="\n")


main()
