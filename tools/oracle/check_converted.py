"""Does what `calotype convert` writes of Flux and of T5 load in Python, with the same outputs?

    python tools/oracle/check_converted.py target/release/calotype FOLDER

Makes a random Flux (one double and one single block, 3072 wide, as diffusers' converter takes for granted) and a random T5
in FOLDER, converts each to every layout and dtype, runs both programs on the same inputs in float32, and prints a line
for each: the largest difference over the largest output, against Calotype's `probe` of the same file, and against the
original in PyTorch (what the dtype costs). diffusers dequantises in f16, which is in the first number; `exact` is
PyTorch with gguf's own dequantisation. Exits with 1 if an exact difference is above 1e-4 or a file does not load.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch
from diffusers import FluxTransformer2DModel, GGUFQuantizationConfig
from gguf import GGUFReader, quants
from safetensors.torch import load_file, save_file
from transformers import T5Config, T5EncoderModel

TOLERANCE = 1e-4
QUANTISED = ("q8_0", "q6_k", "q5_k", "q4_k", "q4_0")
FLUX = dict(num_layers=1, num_single_layers=1, guidance_embeds=True, joint_attention_dim=512)
T5 = dict(vocab_size=512, d_model=256, d_kv=64, d_ff=512, num_layers=3, num_heads=4, feed_forward_proj="gated-gelu")


def randomised(network):
    """Weights as large as trained ones are."""
    generator = torch.Generator().manual_seed(7)
    for name, parameter in network.named_parameters():
        scale = 0.1 if parameter.ndim < 2 else parameter.shape[1] ** -0.5
        mean = 1.0 if "norm" in name and parameter.ndim < 2 and "bias" not in name else 0.0
        parameter.data = torch.randn(parameter.shape, generator=generator) * scale + mean
    return network.eval()


def flux_inputs():
    generator = torch.Generator().manual_seed(8)
    normal = lambda *shape: torch.randn(shape, generator=generator)
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
    image_ids = torch.stack([torch.zeros(4, 4), rows, columns], -1).reshape(16, 3)
    return dict(
        hidden_states=normal(1, 16, 64),
        encoder_hidden_states=normal(1, 8, 512),
        pooled_projections=normal(1, 768),
        timestep=torch.tensor([0.6]),
        guidance=torch.tensor([3.5]),
        img_ids=image_ids,
        txt_ids=torch.zeros(8, 3),
    )


def run(program, *arguments):
    subprocess.run([program, *map(str, arguments)], check=True, capture_output=True, text=True)


def probe(program, model, component, inputs, folder):
    """`output` of Calotype."""
    given, got = folder / "inputs.safetensors", folder / "output.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in inputs.items()}, given)
    run(program, "probe", "--model", model, "--component", component, "--inputs", given, "--output", got)
    return load_file(got)["output"]


def flux_output(network, inputs):
    with torch.no_grad():
        return network(**inputs, return_dict=False)[0].float()


def opened(path, folder):
    """The transformer by diffusers."""
    if path.is_dir():
        return FluxTransformer2DModel.from_pretrained(path, torch_dtype=torch.float32)
    more = dict(config=str(folder), torch_dtype=torch.float32)
    if path.suffix == ".gguf":
        more["quantization_config"] = GGUFQuantizationConfig(compute_dtype=torch.float32)
    return FluxTransformer2DModel.from_single_file(str(path), **more)


def exact(path, folder, original):
    """The same of a GGUF with gguf's own numbers, in a plain file under the same names."""
    plain = folder / "exact.safetensors"
    numbers = lambda tensor: torch.from_numpy(quants.dequantize(tensor.data, tensor.tensor_type).copy())
    save_file({tensor.name: numbers(tensor) for tensor in GGUFReader(path).tensors}, plain)
    return opened(plain, original)


def difference(found, expected):
    return ((found - expected).abs().max() / expected.abs().max()).item()


def check_flux(program, folder):
    original = folder / "flux"
    network = randomised(FluxTransformer2DModel(**FLUX))
    network.save_pretrained(original)
    inputs = flux_inputs()
    expected = flux_output(network, inputs)
    failed = False
    layouts = [("bfl.safetensors", None), ("folder", None), ("bf16.safetensors", "bf16"), ("plain.gguf", None)]
    for name, dtype in layouts + [(f"{dtype}.gguf", dtype) for dtype in ("f16", "bf16", *QUANTISED)]:
        path = folder / name
        run(program, "convert", original, path, *(["--dtype", dtype] if dtype else []))
        ours = probe(program, path, "transformer", inputs, folder)
        line = dict(file=name, diffusers=difference(ours, flux_output(opened(path, original), inputs)))
        line["original"] = difference(ours, expected)
        if path.suffix == ".gguf":
            line["exact"] = difference(ours, flux_output(exact(path, folder, original), inputs))
        print(line, flush=True)
        failed |= not line.get("exact", line["diffusers"]) <= TOLERANCE
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return failed


def check_t5(program, folder):
    original = folder / "t5"
    network = randomised(T5EncoderModel(T5Config(**T5)))
    network.save_pretrained(original)
    ids = torch.randint(3, 500, (2, 20), generator=torch.Generator().manual_seed(9))
    output = lambda network: network(ids)[0].detach()
    expected = output(network)
    failed = False
    for name, dtype in [("t5-folder", None)] + [(f"t5-{dtype}.gguf", dtype) for dtype in ("f32", "f16", *QUANTISED)]:
        path = folder / name
        run(program, "convert", original, path, *(["--dtype", dtype] if dtype else []))
        ours = probe(program, path, "text-encoder-2", dict(input_ids=ids), folder)
        if path.is_dir():
            theirs = T5EncoderModel.from_pretrained(path)
        else:
            # What transformers makes of the metadata alone has a ReLU for an activation.
            given = dict(config=T5Config.from_pretrained(original), dtype=torch.float32)
            theirs = T5EncoderModel.from_pretrained(folder, gguf_file=name, **given)
        line = dict(file=name, transformers=difference(ours, output(theirs.eval())))
        line["original"] = difference(ours, expected)
        print(line, flush=True)
        failed |= not line["transformers"] <= TOLERANCE
    return failed


def main():
    program, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True)
    failed = check_flux(program, folder)
    raise SystemExit(int(check_t5(program, folder) or failed))


main()
