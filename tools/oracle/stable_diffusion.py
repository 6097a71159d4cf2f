"""Stable Diffusion 1, 2, XL and inpainting in miniature: models, and what diffusers computes with them.

    python tools/oracle/stable_diffusion.py golden crates/calotype/tests/golden/stable_diffusion
    python tools/oracle/stable_diffusion.py check MODEL_FOLDER_OR_FILE REFERENCE_FOLDER

`golden` writes the models (stable_diffusion_models.py), `cases.json`, and for every case
`cases/NAME/inputs.safetensors` and `outputs.safetensors` (stable_diffusion_cases.py); all is computed in float32 on
one thread. It replaces what it wrote before.

`check` loads what Calotype wrote, a folder or a single file, takes four steps of DDIM with it and with the
folder that it was made from, and prints the largest differences as JSON.
"""

import argparse
import json
import os
import shutil
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")

import diffusers
import torch
import transformers
from diffusers import AutoencoderTiny, DiffusionPipeline
from transformers import CLIPTextModelWithProjection

from stable_diffusion_cases import NEGATIVE, PROMPT, Golden, in_float32, scheduler_of
from stable_diffusion_models import write_models

TOLERANCE = 1e-3  # of the reference's largest value


def golden(folder):
    shutil.rmtree(folder / "cases", ignore_errors=True)
    write_models(folder)
    write = Golden(folder)
    for model in ("sd1", "sd1-inpaint", "sd2", "sdxl"):
        write.unet(model)
    write.autoencoder("sd1", part="vae", encoded=(14, 18), decoded=(7, 5))
    write.autoencoder("vae-flux")
    write.autoencoder("vae-tiny", AutoencoderTiny)
    for model in ("sd1", "sd2", "sdxl"):
        write.text(model)
    write.text("sdxl", "_2", CLIPTextModelWithProjection)
    write.text_to_image()
    write.from_image()
    for model in ("unet-no-middle", "unet-depths", "unet-distilled"):
        write.unet(model, part="")
    versions = dict(diffusers=diffusers.__version__, transformers=transformers.__version__, torch=torch.__version__)
    cases = ",\n".join(json.dumps(case) for case in write.cases)
    (folder / "cases.json").write_text(f'{{"versions": {json.dumps(versions)}, "cases": [\n{cases}\n]}}\n')
    print(len(write.cases), "cases")


def four_steps(pipeline):
    """Latents and picture after four steps of DDIM from fixed noise, and the picture's latents."""
    pipeline = in_float32(pipeline)
    prediction = pipeline.scheduler.config.get("prediction_type", "epsilon")
    pipeline.scheduler = scheduler_of("ddim", prediction_type=prediction)
    generator = torch.Generator().manual_seed(0)
    vae, side = pipeline.vae, pipeline.unet.config.sample_size
    latents = torch.randn(1, vae.config.latent_channels, side, side, generator=generator)
    size = side * pipeline.vae_scale_factor
    arguments = dict(num_inference_steps=4, latents=latents, height=size, width=size, output_type="latent")
    if pipeline.unet.config.in_channels == 9:
        picture = torch.rand(1, 3, size, size, generator=generator) * 2 - 1
        mask = torch.zeros(1, 1, size, size)
        mask[..., size // 3 :] = 1
        arguments |= dict(image=picture, mask_image=mask, generator=generator, strength=1.0)
    with torch.no_grad():
        end = pipeline(PROMPT, negative_prompt=NEGATIVE, **arguments).images
        image = vae.decode(end / vae.config.scaling_factor).sample
        return dict(latents=end, image=image, encoded=vae.encode(image).latent_dist.mean)


def from_single_file(kind, model, reference):
    """With the reference's configurations only: diffusers would take from its folder what the file lacks."""
    with tempfile.TemporaryDirectory() as configs:
        shutil.copytree(reference, configs, ignore=shutil.ignore_patterns("*.safetensors"), dirs_exist_ok=True)
        return kind.from_single_file(str(model), config=configs, local_files_only=True)


def check(model, reference):
    """Prints max|ours − reference| and max|reference| of each result; exit status 1 if one is too large."""
    expected = DiffusionPipeline.from_pretrained(reference)
    if model.is_dir():
        found = DiffusionPipeline.from_pretrained(model)
    else:
        found = from_single_file(type(expected), model, reference)
    found, expected = four_steps(found), four_steps(expected)
    report, equal = {}, True
    for name, tensor in expected.items():
        difference, size = (found[name].reshape(tensor.shape) - tensor).abs().max().item(), tensor.abs().max().item()
        report[name] = dict(max_abs_difference=difference, max_abs_reference=size)
        equal = equal and difference <= TOLERANCE * size  # false for NaN
    print(json.dumps(dict(equal=equal, **report)))
    return 0 if equal else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("golden").add_argument("folder", type=Path)
    checking = verbs.add_parser("check")
    checking.add_argument("model", type=Path)
    checking.add_argument("reference", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    if arguments.verb == "golden":
        return golden(arguments.folder)
    return check(arguments.model.resolve(), arguments.reference.resolve())


if __name__ == "__main__":
    raise SystemExit(main())
