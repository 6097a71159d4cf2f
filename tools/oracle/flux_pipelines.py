"""What diffusers' other Flux pipelines make: a part painted anew, Fill, a control picture, Kontext's reference.

    python flux_pipelines.py GOLDEN_FLUX OUT

GOLDEN_FLUX has the small random pipeline `dev`. Networks that take more beside the latent are the same with further
columns of `x_embedder` by formula; pictures, masks and noise are by formula too, so that only the final latents are
kept: OUT/flux_pipelines.safetensors, and the settings in OUT/flux_pipelines.json.
"""

import json
import sys
from pathlib import Path

import numpy
import torch
from diffusers import (
    FluxControlPipeline,
    FluxFillPipeline,
    FluxInpaintPipeline,
    FluxKontextPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
)
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.pipelines.flux import pipeline_flux_control, pipeline_flux_fill, pipeline_flux_inpaint
from PIL import Image
from safetensors.torch import save_file

# Pictures are encoded to the mean.
DiagonalGaussianDistribution.sample = lambda self, generator=None: self.mean

CASES = [
    {"case": "inpaint", "pipeline": "inpaint", "columns": 0, "steps": 5, "strength": 0.7, "guidance": 3.5},
    {"case": "inpaint-all-steps", "pipeline": "inpaint", "columns": 0, "steps": 3, "strength": 1.0, "guidance": 2.0},
    {"case": "fill", "pipeline": "fill", "columns": 320, "steps": 4, "strength": 1.0, "guidance": 30.0},
    {"case": "control", "pipeline": "control", "columns": 64, "steps": 4, "guidance": 10.0},
    {"case": "kontext", "pipeline": "kontext", "columns": 0, "steps": 4, "guidance": 2.5},
]
PROMPT = "a ketch under full sail, seen from the pier"
WIDTH, HEIGHT = 80, 64
REFERENCE = (64, 48)


def picture(width, height, shift):
    y, x, c = numpy.meshgrid(numpy.arange(height), numpy.arange(width), numpy.arange(3), indexing="ij")
    return Image.fromarray(((x * 5 + y * 3 + c * 60 + shift) % 256).astype(numpy.uint8))


def mask():
    """White from (27, 16) to (56, 43), not on the grid of tokens."""
    values = numpy.zeros((HEIGHT, WIDTH), numpy.uint8)
    values[16:43, 27:56] = 255
    return Image.fromarray(values)


def formula(count, step):
    return torch.sin(torch.arange(count, dtype=torch.float64) * step)


def noise():
    h, w = HEIGHT // 8, WIDTH // 8
    return (formula(16 * h * w, 1.7) * 1.4).reshape(1, 16, h, w)


def transformer(model, columns):
    """The golden one, with so many further columns of what it reads of a token."""
    base = FluxTransformer2DModel.from_pretrained(model / "transformer", torch_dtype=torch.float64)
    if columns == 0:
        return base
    config = {key: value for key, value in base.config.items() if not key.startswith("_")}
    wide = FluxTransformer2DModel(**config | {"in_channels": 64 + columns, "out_channels": 64}).to(torch.float64)
    state = base.state_dict()
    rows = state["x_embedder.weight"].shape[0]
    more = (formula(rows * columns, 0.9) * 0.1).reshape(rows, columns)
    state["x_embedder.weight"] = torch.cat([state["x_embedder.weight"], more], 1)
    wide.load_state_dict(state)
    return wide


def run(model, case):
    base = FluxPipeline.from_pretrained(model, torch_dtype=torch.float64)
    parts = {name: getattr(base, name) for name in
             ["scheduler", "vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"]}
    parts["transformer"] = transformer(model, case["columns"])
    packed = FluxPipeline._pack_latents(noise(), 1, 16, HEIGHT // 8, WIDTH // 8)
    asked = {"prompt": PROMPT, "num_inference_steps": case["steps"], "guidance_scale": case["guidance"],
             "output_type": "latent", "height": HEIGHT, "width": WIDTH}
    for module in [pipeline_flux_inpaint, pipeline_flux_fill, pipeline_flux_control]:
        module.randn_tensor = lambda *_, **__: noise()
    match case["pipeline"]:
        case "inpaint":
            pipe = FluxInpaintPipeline(**parts)
            asked |= {"image": picture(WIDTH, HEIGHT, 0), "mask_image": mask(), "strength": case["strength"]}
        case "fill":
            pipe = FluxFillPipeline(**parts)
            asked |= {"image": picture(WIDTH, HEIGHT, 0), "mask_image": mask(), "latents": packed}
        case "control":
            pipe = FluxControlPipeline(**parts)
            asked |= {"control_image": picture(WIDTH, HEIGHT, 40), "latents": packed}
        case "kontext":
            pipe = FluxKontextPipeline(**parts)
            asked |= {"image": picture(*REFERENCE, 90), "latents": packed, "_auto_resize": False,
                      "max_area": WIDTH * HEIGHT}
    pipe.set_progress_bar_config(disable=True)
    latents = pipe(**asked).images
    return FluxPipeline._unpack_latents(latents, HEIGHT, WIDTH, 8)


def main(model, out):
    tensors = {case["case"]: run(model, case).float().contiguous() for case in CASES}
    for name, tensor in tensors.items():
        print(name, list(tensor.shape), f"{tensor.abs().max():.3f}")
    save_file(tensors, out / "flux_pipelines.safetensors", {"format": "pt"})
    settings = {"prompt": PROMPT, "width": WIDTH, "height": HEIGHT, "reference": REFERENCE, "cases": CASES}
    (out / "flux_pipelines.json").write_text(json.dumps(settings, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) / "dev", Path(sys.argv[2]))
