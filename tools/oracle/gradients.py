"""Writes the golden files of forward passes, losses and every parameter's gradient.

One safetensors file per model, each of a tiny configuration:

    param.<name>    every parameter, under the key that `save_pretrained` gives it
    input.<name>    the arguments of the forward pass
    output.<name>   what the forward pass returns
    loss            [1]
    grad.<name>     d loss / d param.<name>

All computed in f32 on one CPU thread. The same run is repeated in f64 and the script refuses to write
a file whose f32 rounding error uses up more than a third of the tolerance that the tests apply: a
test that fails then shows a wrong formula, not an unlucky rounding.

`__metadata__` holds `config` (the text of config.json), `versions` and, for the autoencoder, `beta`.
"""

import argparse
import copy
import json
import platform
import tempfile
from pathlib import Path

import diffusers
import safetensors
import torch
import transformers
from diffusers import AutoencoderKL, FluxTransformer2DModel, UNet2DConditionModel
from safetensors.torch import save
from transformers import CLIPConfig, CLIPModel

GOLDEN = Path(__file__).resolve().parents[2] / "crates" / "calotype" / "tests" / "golden"

# The tests' tolerances (tests/golden/README.md states them too).
OUTPUT_TOLERANCE = 1e-5  # |ours - golden| <= this * (1 + |golden|), per element
GRADIENT_TOLERANCE = 1e-4  # ... <= this * max|golden of that tensor| + the floor below
# A key's bias has an exact gradient of 0, because a softmax ignores a constant added to its input. What
# rounding leaves there has no scale of its own, so a floor is taken from the file's largest gradient.
GRADIENT_FLOOR = 1e-6  # ... + this * max|any gradient in the file|
ROOM = 1 / 3

MAX_BYTES = 1_500_000


def uniform(generator, *shape):
    """Uniform in [-1, 1), as image pixels are."""
    return torch.rand(shape, generator=generator) * 2 - 1


def autoencoder_kl(generator):
    beta = 1e-3
    model = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        block_out_channels=[8, 16],
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=16,
    )
    inputs = {
        "sample": uniform(generator, 2, 3, 16, 16),
        "noise": torch.randn(2, 4, 8, 8, generator=generator),
    }

    def forward(model, sample, noise):
        posterior = model.encode(sample).latent_dist  # clamps logvar to [-30, 20]
        z = posterior.mean + torch.exp(0.5 * posterior.logvar) * noise
        reconstruction = model.decode(z).sample
        kl_per_sample = posterior.kl()  # summed over channels and positions
        loss = ((reconstruction - sample) ** 2).mean() + beta * kl_per_sample.mean()
        outputs = {
            "mean": posterior.mean,
            "logvar": posterior.logvar,
            "reconstruction": reconstruction,
            "kl_per_sample": kl_per_sample,
        }
        return outputs, loss

    return model, inputs, forward, {"beta": repr(beta)}


def clip(generator):
    start, end = 62, 63
    shared = {"num_hidden_layers": 2, "num_attention_heads": 2, "projection_dim": 12, "hidden_act": "quick_gelu"}
    text = {
        "vocab_size": 64,
        "hidden_size": 16,
        "intermediate_size": 32,
        "max_position_embeddings": 10,
        "bos_token_id": start,
        "eos_token_id": end,
        "pad_token_id": end,
    }
    vision = {"hidden_size": 24, "intermediate_size": 48, "image_size": 16, "patch_size": 8}
    model = CLIPModel(CLIPConfig(text_config=text | shared, vision_config=vision | shared, projection_dim=12))

    # Captions of four lengths, one of them full: the pooled position differs in each row.
    input_ids = torch.full((4, 10), end)
    for row, words in enumerate([3, 8, 1, 5]):
        input_ids[row, 0] = start
        input_ids[row, 1 : 1 + words] = torch.randint(0, start, (words,), generator=generator)
    inputs = {"input_ids": input_ids, "pixel_values": uniform(generator, 4, 3, 16, 16)}

    def forward(model, input_ids, pixel_values):
        result = model(input_ids=input_ids, pixel_values=pixel_values, return_loss=True)
        outputs = {
            "text_embeds": result.text_embeds,
            "image_embeds": result.image_embeds,
            "logits_per_image": result.logits_per_image,
            "text_last_hidden_state": result.text_model_output.last_hidden_state,
        }
        return outputs, result.loss

    return model, inputs, forward, {}


def denoiser(generator, size, **config):
    """A U-Net with the plain noise-prediction loss."""
    model = UNet2DConditionModel(
        sample_size=size,
        in_channels=4,
        out_channels=4,
        block_out_channels=[8, 16],
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=12,
        **config,
    )
    inputs = {
        "sample": torch.randn(2, 4, size, size, generator=generator),
        "timestep": torch.tensor([37, 812]),
        "encoder_hidden_states": torch.randn(2, 5, 12, generator=generator),
        "noise": torch.randn(2, 4, size, size, generator=generator),
    }

    def forward(model, sample, timestep, encoder_hidden_states, noise):
        output = model(sample, timestep, encoder_hidden_states).sample
        return {"output": output}, ((output - noise) ** 2).mean()

    return model, inputs, forward, {}


def unet(generator):
    return denoiser(
        generator,
        size=8,
        down_block_types=["CrossAttnDownBlock2D", "DownBlock2D"],
        up_block_types=["UpBlock2D", "CrossAttnUpBlock2D"],
        attention_head_dim=2,  # diffusers' misnomer: the number of heads
    )


def unet_linear(generator):
    """Stable Diffusion 2's and SDXL's variations, on a latent that the downsampling does not divide."""
    return denoiser(
        generator,
        size=7,
        down_block_types=["CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
        attention_head_dim=[2, 4],
        transformer_layers_per_block=[1, 2],
        use_linear_projection=True,
        flip_sin_to_cos=True,
        freq_shift=0,
    )


class KeepProbabilities:
    """An attention processor that is written out, and keeps the probabilities of cross-attention, [B, heads, N, L]."""

    def __init__(self):
        self.kept = []

    def __call__(self, attention, hidden_states, encoder_hidden_states=None, **_):
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states

        def split(x):
            return x.unflatten(-1, (attention.heads, -1)).transpose(1, 2)

        q, k, v = split(attention.to_q(hidden_states)), split(attention.to_k(context)), split(attention.to_v(context))
        probabilities = torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, -1)
        if encoder_hidden_states is not None:
            self.kept.append(probabilities)
        return attention.to_out[0]((probabilities @ v).transpose(1, 2).flatten(2))


def unet_grounded(generator):
    """The grounding of words in regions beside the plain loss: half of the heads, weights for each sample."""
    model, inputs, _, metadata = unet_linear(generator)
    # Two regions in the first sample, one in the second; which tokens name them, and what of each cell they cover.
    inputs["naming"] = torch.tensor([[[0, 1, 1, 0, 0], [0, 0, 0, 1, 0]], [[0, 0, 1, 0, 0], [0, 0, 0, 0, 0]]]).float()
    inputs["coverage"] = torch.rand(2, 2, 7, 7, generator=generator).round(decimals=2)
    inputs["weights"] = torch.tensor([1.0, 5.0])

    def forward(model, sample, timestep, encoder_hidden_states, noise, naming, coverage, weights):
        keep = KeepProbabilities()
        model.set_attn_processor(keep)
        output = model(sample, timestep, encoder_hidden_states).sample
        layers, keep.kept = keep.kept, []  # a model with them could not be copied
        there = naming.sum(-1) > 0
        grounding = 0
        for probabilities in layers:
            half = probabilities[:, : probabilities.shape[1] // 2].mean(1)
            attention = torch.einsum("bnt,bot->bon", half, naming).clamp(1e-4, 1 - 1e-4)
            side = round(probabilities.shape[2] ** 0.5)
            cells = torch.nn.functional.adaptive_avg_pool2d(coverage, side).flatten(2)
            entropy = torch.nn.functional.binary_cross_entropy(attention, cells, reduction="none").mean(-1)
            of_sample = (entropy * there).sum(-1) / there.sum(-1)
            grounding = grounding + (of_sample * weights).mean() / len(layers)
        loss = ((output - noise) ** 2).mean() + 0.7 * grounding
        return {"output": output, "grounding": grounding.reshape(1)}, loss

    return model, inputs, forward, metadata


def flux(generator):
    """Flux.1 with guidance: uneven axes, two samples, a picture of 2 × 3 tokens."""
    model = FluxTransformer2DModel(
        in_channels=8,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=12,
        pooled_projection_dim=10,
        guidance_embeds=True,
        axes_dims_rope=(2, 2, 4),
    )
    # Initial weights of diffusers leave attention all but even.
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    rows, columns = torch.meshgrid(torch.arange(2.0), torch.arange(3.0), indexing="ij")
    inputs = {
        "hidden_states": torch.randn(2, 6, 8, generator=generator),
        "encoder_hidden_states": torch.randn(2, 4, 12, generator=generator),
        "pooled_projections": torch.randn(2, 10, generator=generator),
        "timestep": torch.tensor([0.25, 0.875]),
        "guidance": torch.tensor([3.5, 1.0]),
        "img_ids": torch.stack([torch.zeros(2, 3), rows, columns], -1).reshape(6, 3),
        "txt_ids": torch.zeros(4, 3),
        "velocity": torch.randn(2, 6, 8, generator=generator),
    }

    def forward(model, velocity, **told):
        output = model(**told).sample
        return {"output": output}, ((output - velocity) ** 2).mean()

    return model, inputs, forward, {}


MODELS = {
    "autoencoder_kl": autoencoder_kl,
    "clip": clip,
    "unet": unet,
    "unet_linear": unet_linear,
    "unet_grounded": unet_grounded,
    "flux": flux,
}


def perturb(model, generator):
    """Moves every parameter off its initial value, so that no norm weight is 1 and no bias 0."""
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)


def evaluate(model, inputs, forward):
    """Outputs, loss and gradients; a parameter that the loss does not reach is an error."""
    model.zero_grad(set_to_none=True)
    outputs, loss = forward(model, **inputs)
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    unreached = [name for name, gradient in gradients.items() if gradient is None]
    if unreached:
        raise SystemExit(f"error: the loss does not depend on {unreached}")
    return {name: value.detach() for name, value in outputs.items()}, loss.detach(), gradients


def saved_config(model):
    """The text of config.json; refuses a model that is saved under other names than it trains under."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        (weights,) = Path(folder).glob("*.safetensors")
        with safetensors.safe_open(weights, "pt") as file:
            if set(file.keys()) != {name for name, _ in model.named_parameters()}:
                raise SystemExit("error: the saved keys are not the parameters' names")
        return (Path(folder) / "config.json").read_text()


def used_room(single, double):
    """The largest f32 rounding error over its tolerance: first of outputs and loss, then of gradients."""
    (outputs, loss, gradients), (outputs64, loss64, gradients64) = single, double
    pairs = [(outputs[name], outputs64[name]) for name in outputs] + [(loss, loss64)]
    forward = max(((a - b).abs() / (OUTPUT_TOLERANCE * (1 + b.abs()))).max().item() for a, b in pairs)
    floor = GRADIENT_FLOOR * max(gradient.abs().max() for gradient in gradients64.values())
    backward = max(
        ((gradients[name] - exact).abs().max() / (GRADIENT_TOLERANCE * exact.abs().max() + floor)).item()
        for name, exact in gradients64.items()
    )
    return forward, backward


def in_fixed_order(file):
    """A safetensors file whose header is sorted: the library writes `__metadata__` in random order."""
    length = int.from_bytes(file[:8], "little")
    header = json.dumps(json.loads(file[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + file[8 + length :]


def write(name, out):
    generator = torch.Generator().manual_seed(list(MODELS).index(name) + 1)
    torch.manual_seed(1841)
    model, inputs, forward, metadata = MODELS[name](generator)
    model.eval()
    perturb(model, generator)

    single = evaluate(model, inputs, forward)
    as_double = {key: value.double() if value.is_floating_point() else value for key, value in inputs.items()}
    double = evaluate(copy.deepcopy(model).double(), as_double, forward)
    rooms = used_room(single, double)
    if max(rooms) > ROOM:
        raise SystemExit(f"error: {name}: f32 rounding uses {max(rooms):.2f} of the tolerance (limit {ROOM:.2f})")

    outputs, loss, gradients = single
    tensors = {"loss": loss.reshape(1)}
    tensors |= {f"param.{key}": value.detach() for key, value in model.named_parameters()}
    tensors |= {f"input.{key}": value for key, value in inputs.items()}
    tensors |= {f"output.{key}": value for key, value in outputs.items()}
    tensors |= {f"grad.{key}": value for key, value in gradients.items()}
    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__.split("+")[0],
        "diffusers": diffusers.__version__,
        "transformers": transformers.__version__,
    }
    metadata |= {"config": saved_config(model), "versions": json.dumps(versions)}
    path = out / f"{name}.safetensors"
    tensors = {key: value.contiguous() for key, value in tensors.items()}
    path.write_bytes(in_fixed_order(save(tensors, metadata)))
    if path.stat().st_size > MAX_BYTES:
        raise SystemExit(f"error: {path.name} is larger than {MAX_BYTES} bytes")
    print(
        f"{path.name}: {len(gradients)} parameters, {path.stat().st_size} bytes, loss {loss.item():.6f}, "
        f"rounding uses {rooms[0]:.3f} of the outputs' and {rooms[1]:.3f} of the gradients' tolerance"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", help=f"any of: {', '.join(MODELS)} (default: all)")
    parser.add_argument("--out", type=Path, default=GOLDEN, help="default: crates/calotype/tests/golden")
    arguments = parser.parse_args()
    unknown = set(arguments.models) - set(MODELS)
    if unknown:
        parser.error(f"no such model: {', '.join(sorted(unknown))}")
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for name in arguments.models or MODELS:
        write(name, arguments.out)


if __name__ == "__main__":
    main()
