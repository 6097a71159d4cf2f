"""Fifty steps of fine-tuning the small random Flux `dev`: all of its transformer, and a LoRA of it.

    python flux_fine_tuning.py GOLDEN_FLUX GOLDEN/fine_tuning OUT

GOLDEN_FLUX has the pipeline; GOLDEN/fine_tuning/inputs.safetensors the pictures and captions of `fine_tuning.py`, whose
optimiser is taken too. Noise, times and the LoRA's first matrices are by formula, so that OUT/flux_fine_tuning.json, the
losses, is all that is kept. Each run is repeated in float64.

The forward process is flow matching: x_t = (1 - t) z + t eps, the target is eps - z (diffusers' examples/dreambooth/
train_dreambooth_lora_flux.py without weighting).
"""

import json
import sys
from pathlib import Path

import peft
import torch
import torch.nn.functional as F
import transformers.integrations.peft
from diffusers import FluxPipeline
from safetensors.torch import load_file

from fine_tuning import ALPHA, RANK, clip, optimizer, relative, rounded
from fine_tuning_model import BATCH, CAPTIONS, PICTURES, STEPS

transformers.integrations.peft.check_peft_version = lambda **_: None

GUIDANCE = 3.5
TARGETS = ["to_k", "to_out.0", "to_q", "to_v"]


def waves(first, count, step):
    return torch.sin((first + torch.arange(count, dtype=torch.float64)) * step) * 1.4


def latents_of(pipeline, pictures, positions):
    posterior = pipeline.vae.encode(pictures).latent_dist
    noise = torch.stack([waves(1013 * p, posterior.mean[0].numel(), 0.9) for p in positions])
    sample = posterior.mean + posterior.std * noise.reshape(posterior.mean.shape).float().to(posterior.mean.dtype)
    return (sample - pipeline.vae.config.shift_factor) * pipeline.vae.config.scaling_factor


def loss_of(pipeline, texts, pictures, step, dtype):
    positions = [BATCH * step + i for i in range(BATCH)]
    rows = [p % PICTURES for p in positions]
    with torch.no_grad():
        z = latents_of(pipeline, pictures[rows].to(dtype), positions)
    eps = torch.stack([waves(1009 * p, z[0].numel(), 1.7) for p in positions]).reshape(z.shape).float().to(dtype)
    t = torch.sigmoid(1.2 * torch.sin(2.3 * torch.tensor(positions, dtype=torch.float64))).float().to(dtype)
    x = (1 - t[:, None, None, None]) * z + t[:, None, None, None] * eps
    b, c, h, w = x.shape
    pack = lambda latents: FluxPipeline._pack_latents(latents, b, c, h, w)
    prompt, pooled = texts
    output = pipeline.transformer(
        hidden_states=pack(x),
        timestep=t,
        guidance=torch.full([b], GUIDANCE, dtype=dtype),
        pooled_projections=pooled[rows],
        encoder_hidden_states=prompt[rows],
        txt_ids=torch.zeros(prompt.shape[1], 3, dtype=dtype),
        img_ids=FluxPipeline._prepare_latent_image_ids(b, h // 2, w // 2, "cpu", dtype),
    ).sample
    return F.mse_loss(output, pack(eps - z))


def trained(pipeline, lora, dtype):
    """What is trained, by name."""
    network = pipeline.transformer.requires_grad_(not lora)
    if not lora:
        return dict(network.named_parameters())
    network.add_adapter(peft.LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=TARGETS))
    network.to(dtype)
    named = {name: p for name, p in network.named_parameters() if "lora_" in name}
    for name, p in named.items():
        layer = name.split(".lora_")[0]
        start = waves(37 * len(layer), p.numel(), 0.37).reshape(p.shape) / RANK
        p.data = (start if "lora_A" in name else torch.zeros_like(start)).float().to(dtype)
    return named


def run(golden, pictures, lora, dtype):
    pipeline = FluxPipeline.from_pretrained(golden / "dev", torch_dtype=torch.float32).to(dtype)
    for part in (pipeline.transformer, pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2):
        part.requires_grad_(False)
    with torch.no_grad():
        prompt, pooled, _ = pipeline.encode_prompt(prompt=CAPTIONS, prompt_2=None, max_sequence_length=512)
    texts = prompt.to(dtype), pooled.to(dtype)
    named = trained(pipeline, lora, dtype)
    adamw, losses = optimizer(named), []
    for step in range(STEPS):
        loss = loss_of(pipeline, texts, pictures, step, dtype)
        adamw.zero_grad()
        loss.backward()
        clip(named)
        adamw.step()
        losses.append(loss.item())
    return losses


def main(golden, fine_tuning, out):
    torch.set_num_threads(1)
    pictures = load_file(fine_tuning / "inputs.safetensors")["pixel_values"]
    report = {"captions": CAPTIONS, "guidance": GUIDANCE}
    for name, lora in [("full", False), ("lora", True)]:
        single = run(golden, pictures, lora, torch.float32)
        drift = relative(single, run(golden, pictures, lora, torch.float64))
        print(f"{name}: {single[0]:.4f} … {single[-1]:.4f}, drift {drift:.1e}", flush=True)
        report[name] = {"losses": rounded(single), "f32_drift": float(f"{drift:.2g}")}
    (out / "flux_fine_tuning.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
