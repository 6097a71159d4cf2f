"""Does a LoRA that we trained or read change the latents in diffusers as it does in Calotype?

    calotype generate PROMPT --model DIR --lora FILE --init-latents INIT --steps N --guidance G --save-latents FINAL …
    python tools/oracle/check_lora.py --model DIR --lora FILE --latents INIT --expected FINAL --steps N --prompt PROMPT
                                      [--negative S] [--guidance G] [--weight W]

INIT and FINAL are safetensors files with a tensor `latents`: unit noise going in, scaled latents coming out. A Stable
Diffusion or a Flux; the pipeline runs twice in float32 with the scheduler of its folder, with the LoRA and without it. Prints one JSON
object and exits with 1 if the largest difference is above 1e-3 of the largest latent, or if the LoRA does nothing.
"""

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")

import diffusers
import torch
import transformers
import transformers.integrations.peft
from diffusers import DiffusionPipeline, FluxPipeline
from safetensors.torch import load_file

# transformers 5.24 asks for peft 0.22, which is not out; 0.21 does what is needed here.
transformers.integrations.peft.check_peft_version = lambda **_: None

TOLERANCE = 1e-3  # of the largest latent


def latents_of(path):
    """`latents` of a file, with a batch dimension, in float32."""
    latents = load_file(path)["latents"].float()
    return latents if latents.ndim == 4 else latents[None]


def generate(pipeline, arguments, initial):
    """Final scaled latents, the shape of `initial`."""
    side = pipeline.vae_scale_factor
    height, width = (side * n for n in initial.shape[-2:])
    is_flux = isinstance(pipeline, FluxPipeline)
    start = pipeline._pack_latents(initial, *initial.shape) if is_flux else initial.clone()
    with torch.no_grad():
        latents = pipeline(
            arguments.prompt,
            negative_prompt=arguments.negative,
            num_inference_steps=arguments.steps,
            guidance_scale=arguments.guidance,
            height=height,
            width=width,
            latents=start,
            num_images_per_prompt=len(initial),
            output_type="latent",
        ).images
    return pipeline._unpack_latents(latents, height, width, side) if is_flux else latents


def layers_changed(pipeline):
    """How many layers of each network have an adapter: 0 means that diffusers found no key for it."""
    counts = {}
    for name, network in pipeline.components.items():
        if isinstance(network, torch.nn.Module):
            counts[name] = sum(hasattr(module, "lora_A") for module in network.modules())
    return {name: count for name, count in counts.items() if name != "vae"}


def compare(arguments):
    """What is printed."""
    pipeline = DiffusionPipeline.from_pretrained(arguments.model, dtype=torch.float32).to(torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    initial, expected = latents_of(arguments.latents), latents_of(arguments.expected)
    without = generate(pipeline, arguments, initial)
    pipeline.load_lora_weights(arguments.lora.parent, weight_name=arguments.lora.name, adapter_name="checked")
    pipeline.set_adapters("checked", arguments.weight)
    found = generate(pipeline, arguments, initial)
    if found.shape != expected.shape:
        raise SystemExit(f"error: {arguments.expected}: expected {list(found.shape)}, got {list(expected.shape)}")
    largest = found.abs().max().item()
    difference, effect = (found - expected).abs().max().item(), (found - without).abs().max().item()
    return dict(
        equal=difference <= TOLERANCE * largest < effect,  # false for NaN
        max_abs_difference=difference,
        max_abs_latent=largest,
        max_abs_effect_of_lora=effect,
        max_abs_difference_without_lora=(without - expected).abs().max().item(),
        layers=layers_changed(pipeline),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--lora", type=Path, required=True)
    parser.add_argument("--latents", type=Path, required=True, help="unit noise")
    parser.add_argument("--expected", type=Path, required=True, help="what Calotype saved")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--negative", default="")
    parser.add_argument("--guidance", type=float, default=7.5)
    parser.add_argument("--weight", type=float, default=1.0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    report = compare(arguments)
    print(json.dumps(report))
    return 0 if report["equal"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
