"""Makes crates/calotype/tests/golden/fine_tuning: a small Stable Diffusion 1, fine-tuned for 50 steps in seven ways.

    python tools/oracle/fine_tuning.py crates/calotype/tests/golden/fine_tuning [VARIANT ...]

Every step is one of diffusers' examples/text_to_image/train_text_to_image.py: the autoencoder and the text encoder
are frozen, the loss is a mean squared error, the forward process is that of `DDPMScheduler` with the pipeline's
scheduler configuration. The optimiser is ours: AdamW without decay of vectors, and gradients scaled by
min(1, 1/norm), with no 1e-6 in it. All random numbers are drawn before and stored.

    pipeline/                 the model, in diffusers' layout, float16
    inputs.safetensors        pictures, captions, timesteps and noise, see `draw_inputs`
    expected.json             for each variant its settings, losses, gradient norms and final norms of the weights
    lora_init.safetensors     the LoRA before the first step, `up` zero, as diffusers writes it
    lora_final.safetensors    and after the last

Each run is repeated in float64, with the noise schedule and the timestep embedding in float64 too; `f32_drift` is
the largest relative difference of the losses. With names of variants only those are run, printed, and not written.
"""

import argparse
import json
import math
import os
import shutil
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")

import diffusers
import peft
import torch
import torch.nn.functional as F
import transformers
import transformers.integrations.peft
from diffusers import DDPMScheduler, StableDiffusionPipeline
from diffusers.training_utils import compute_snr
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save
from transformers import CLIPTokenizer

from fine_tuning_model import BATCH, CAPTIONS, PICTURES, STEPS, draw_inputs, write_pipeline
from gradients import in_fixed_order

# transformers 5.24 asks for peft 0.22, which is not out; 0.21 does what is needed here.
transformers.integrations.peft.check_peft_version = lambda **_: None

ADAMW = dict(lr=1e-3, betas=(0.9, 0.99), eps=1e-8)
WEIGHT_DECAY, MAX_NORM = 0.01, 1.0
SNR_GAMMA, NOISE_OFFSET = 5.0, 0.1
RANK, ALPHA = 4, 8
LORA_TARGETS = dict(
    unet=["to_k", "to_out.0", "to_q", "to_v"],
    text_encoder=["k_proj", "out_proj", "q_proj", "v_proj"],
)
ZERO_SNR = dict(rescale_betas_zero_snr=True, prediction_type="v_prediction", timestep_spacing="trailing")
# What differs from plain fine-tuning: `scheduler` are changes to the pipeline's scheduler_config.json.
VARIANTS = {
    "epsilon": {},
    "v_prediction": dict(scheduler=dict(prediction_type="v_prediction")),
    "min_snr": dict(snr_gamma=SNR_GAMMA),
    "noise_offset": dict(noise_offset=NOISE_OFFSET),
    "flow": dict(flow=True),
    "lora": dict(lora=dict(rank=RANK, alpha=ALPHA, targets=LORA_TARGETS)),
    "zero_terminal_snr": dict(scheduler=ZERO_SNR),
}


class ExactTimesteps(torch.nn.Module):
    """diffusers' `Timesteps` (cosine first, no shift), which always computes in float32, in float64."""

    def __init__(self, channels):
        super().__init__()
        half = channels // 2
        self.frequencies = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float64) / half)

    def forward(self, timesteps):
        angles = timesteps.double()[:, None] * self.frequencies
        return torch.cat([angles.cos(), angles.sin()], dim=-1)


def exact_alpha_bars(config):
    """ᾱ of the scaled-linear schedule in float64, stretched to end at 0 where the configuration says so."""
    ends = config.beta_start**0.5, config.beta_end**0.5
    betas = torch.linspace(*ends, config.num_train_timesteps, dtype=torch.float64) ** 2
    alpha_bars = torch.cumprod(1 - betas, 0)
    if config.rescale_betas_zero_snr:
        roots = alpha_bars.sqrt()
        alpha_bars = ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])) ** 2
    return alpha_bars


def load(folder, dtype, changes):
    """The pipeline in `dtype`, frozen, and the scheduler of training."""
    pipeline = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32).to(dtype)
    scheduler = DDPMScheduler.from_pretrained(folder, subfolder="scheduler", **changes)
    if dtype == torch.float64:
        pipeline.unet.time_proj = ExactTimesteps(pipeline.unet.config.block_out_channels[0])
        exact = exact_alpha_bars(scheduler.config)
        torch.testing.assert_close(scheduler.alphas_cumprod.double(), exact, rtol=1e-3, atol=1e-7)
        scheduler.alphas_cumprod = exact
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        part.requires_grad_(False)
    return pipeline, scheduler


def add_lora(pipeline):
    """Adapters on the attention of both networks: A normal with deviation 1/rank, B zero."""
    generator = torch.Generator().manual_seed(1842)
    for part, targets in LORA_TARGETS.items():
        network = getattr(pipeline, part)
        dtype = network.dtype
        network.add_adapter(peft.LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=targets))
        network.to(dtype)
        for name, tensor in sorted(get_peft_model_state_dict(network).items()):
            noise = torch.randn(tensor.shape, generator=generator) / RANK
            tensor.copy_(noise if "lora_A" in name else torch.zeros_like(noise))


def lora_file(pipeline):
    """The bytes of the file that `save_lora_weights` writes, with the adapters' configuration in its metadata."""
    arguments = {}
    for part in LORA_TARGETS:
        network = getattr(pipeline, part)
        settings = network.peft_config["default"].to_dict()
        settings |= dict(target_modules=sorted(settings["target_modules"]), base_model_name_or_path=None)
        arguments[f"{part}_lora_layers"] = get_peft_model_state_dict(network)
        arguments[f"{part}_lora_adapter_metadata"] = settings
    with tempfile.TemporaryDirectory() as folder:
        StableDiffusionPipeline.save_lora_weights(folder, **arguments)
        return in_fixed_order((Path(folder) / "pytorch_lora_weights.safetensors").read_bytes())


def parameters(pipeline, settings):
    """What is trained, by the name that its file gives it."""
    if "lora" not in settings:
        pipeline.unet.requires_grad_(True)
        return dict(pipeline.unet.named_parameters())
    named = {}
    for part in LORA_TARGETS:
        for name, parameter in getattr(pipeline, part).named_parameters():
            if "lora_" in name:
                named[f"{part}.{name.replace('.default', '')}"] = parameter
    assert all(parameter.requires_grad for parameter in named.values())
    return named


def optimizer(named):
    """AdamW that lets vectors keep their scale."""
    matrices = [p for p in named.values() if p.ndim > 1]
    vectors = [p for p in named.values() if p.ndim <= 1]
    groups = [dict(params=matrices, weight_decay=WEIGHT_DECAY), dict(params=vectors, weight_decay=0.0)]
    return torch.optim.AdamW([group for group in groups if group["params"]], foreach=False, **ADAMW)


def clip(named):
    """Scales all gradients by min(1, 1/norm); returns the norm, summed in float64."""
    squares = sum(p.grad.double().square().sum() for p in named.values())
    norm = squares.sqrt().item()
    for p in named.values():
        p.grad.mul_(min(1.0, MAX_NORM / norm))
    return norm


def batch_of(inputs, step, dtype):
    """Inputs of one step, floats in `dtype`."""
    rows = [(BATCH * step + i) % PICTURES for i in range(BATCH)]
    per_picture = ("pixel_values", "input_ids")
    batch = {name: value[rows] if name in per_picture else value[step] for name, value in inputs.items()}
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in batch.items()}


def loss_of(pipeline, scheduler, settings, batch):
    """The loss of one step, a scalar."""
    with torch.no_grad():
        posterior = pipeline.vae.encode(batch["pixel_values"]).latent_dist
        latents = (posterior.mean + posterior.std * batch["posterior_noise"]) * pipeline.vae.config.scaling_factor
    noise = batch["noise"] + settings.get("noise_offset", 0.0) * batch["offset_noise"]
    context = pipeline.text_encoder(batch["input_ids"])[0]  # [4, 77, 32]
    if "flow" in settings:
        t = batch["flow_times"]
        noisy = (1 - t[:, None, None, None]) * latents + t[:, None, None, None] * noise
        return F.mse_loss(pipeline.unet(noisy, 1000 * t, context).sample, noise - latents)
    t = batch["timesteps"]
    is_v = scheduler.config.prediction_type == "v_prediction"
    target = scheduler.get_velocity(latents, noise, t) if is_v else noise
    output = pipeline.unet(scheduler.add_noise(latents, noise, t), t, context).sample
    if "snr_gamma" not in settings:
        return F.mse_loss(output, target)
    snr = compute_snr(scheduler, t)
    weight = snr.clamp(max=settings["snr_gamma"]) / (snr + 1 if is_v else snr)
    return (F.mse_loss(output, target, reduction="none").mean(dim=(1, 2, 3)) * weight).mean()


def run(folder, inputs, settings, dtype):
    """Fifty steps: losses, gradient norms, final norms by name, and for a LoRA its files before and after."""
    pipeline, scheduler = load(folder, dtype, settings.get("scheduler", {}))
    files = {}
    if "lora" in settings:
        add_lora(pipeline)
        files["lora_init.safetensors"] = lora_file(pipeline)
    named = parameters(pipeline, settings)
    adamw, losses, norms = optimizer(named), [], []
    for step in range(STEPS):
        loss = loss_of(pipeline, scheduler, settings, batch_of(inputs, step, dtype))
        adamw.zero_grad()
        loss.backward()
        norms.append(clip(named))
        adamw.step()
        losses.append(loss.item())
    if "lora" in settings:
        files["lora_final.safetensors"] = lora_file(pipeline)
    weights = {name: p.detach().double().norm().item() for name, p in named.items()}
    return dict(losses=losses, gradient_norms=norms, weight_norms=weights), files


def rounded(numbers):
    """Nine digits, enough for a float32; of a dictionary's values too."""
    if isinstance(numbers, dict):
        return {name: float(f"{value:.9g}") for name, value in numbers.items()}
    return [float(f"{value:.9g}") for value in numbers]


def relative(single, double):
    """The largest |single − double| / |double|."""
    return max(abs(a - b) / abs(b) for a, b in zip(single, double, strict=True))


def variant(folder, inputs, name):
    """What expected.json says of a variant, and its LoRA files."""
    settings = VARIANTS[name]
    single, files = run(folder, inputs, settings, torch.float32)
    double, _ = run(folder, inputs, settings, torch.float64)
    drift = {key: relative(single[key], double[key]) for key in ("losses", "gradient_norms")}
    drift["weight_norms"] = relative(single["weight_norms"].values(), double["weight_norms"].values())
    losses, norms = single["losses"], single["gradient_norms"]
    print(f"{name}: {losses[0]:.4f} … {losses[-1]:.4f}, norms {min(norms):.3g} to {max(norms):.3g}, drift "
          + ", ".join(f"{value:.1e}" for value in drift.values()), flush=True)  # fmt: skip
    report = dict(settings=settings, f32_drift=float(f"{drift['losses']:.2g}"))
    report["f32_drift_of_gradient_norms"] = float(f"{drift['gradient_norms']:.2g}")
    report["f32_drift_of_weight_norms"] = float(f"{drift['weight_norms']:.2g}")
    return report | {key: rounded(value) for key, value in single.items()}, files


def write(folder, inputs, reports, files):
    """expected.json, one line a variant, and the files beside it."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    as_floats = {name: x if x.is_floating_point() else x.float() for name, x in inputs.items()}  # our reader's types
    (folder / "inputs.safetensors").write_bytes(in_fixed_order(save(as_floats, dict(format="pt"))))
    made_by = {m.__name__: m.__version__.split("+")[0] for m in (torch, diffusers, transformers, peft)}
    settings = dict(ADAMW, weight_decay=WEIGHT_DECAY, max_gradient_norm=MAX_NORM)
    head = dict(made_by=made_by, steps=STEPS, batch=BATCH, optimizer=settings, captions=CAPTIONS)
    rows = ",\n".join(f"{json.dumps(name)}: {json.dumps(report)}" for name, report in reports.items())
    (folder / "expected.json").write_text(f'{json.dumps(head)[:-1]}, "variants": {{\n{rows}\n}}}}\n')


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("variants", nargs="*", help=f"only print these of {', '.join(VARIANTS)}")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    pipeline = arguments.folder / "pipeline"
    if not arguments.variants:
        shutil.rmtree(pipeline, ignore_errors=True)
        write_pipeline(pipeline)
    inputs = draw_inputs(CLIPTokenizer.from_pretrained(pipeline / "tokenizer"))
    reports, files = {}, {}
    for name in arguments.variants or VARIANTS:
        reports[name], made = variant(pipeline, inputs, name)
        files |= made
    if not arguments.variants:
        write(arguments.folder, inputs, reports, files)


if __name__ == "__main__":
    main()
