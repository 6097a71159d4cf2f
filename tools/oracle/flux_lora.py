"""Makes crates/calotype/tests/golden/flux_lora.json: LoRAs of a small Flux in every dialect, and what it computes then.

    python tools/oracle/flux_lora.py crates/calotype/tests/golden/flux.safetensors crates/calotype/tests/golden/flux_lora.json

The network and its inputs are those of flux.safetensors. A LoRA's numbers are a formula of its tensor's name
(`values`), so that the golden file has names and shapes alone. The expected output is that of the network whose
weights have been changed by the formulas of the methods, by hand, in float64: the table of Black Forest Labs' names
is written out in `LAYERS`. Where diffusers reads a dialect rightly, it is loaded there too and must agree; diffusers'
converters take the sizes of FLUX.1-dev for granted, which are replaced in their source.
"""

import inspect
import json
import sys
import tempfile
from pathlib import Path

import diffusers
import peft
import torch
import transformers
import diffusers.loaders.lora_conversion_utils as converters
import diffusers.loaders.lora_pipeline as lora_pipeline
from diffusers import FluxPipeline, FluxTransformer2DModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file

RANK = 2
D = 16

# Black Forest Labs' layer: the rows of diffusers' layers, one below the other.
TOP = {
    "img_in": ["x_embedder"],
    "txt_in": ["context_embedder"],
    "time_in.in_layer": ["time_text_embed.timestep_embedder.linear_1"],
    "time_in.out_layer": ["time_text_embed.timestep_embedder.linear_2"],
    "vector_in.in_layer": ["time_text_embed.text_embedder.linear_1"],
    "vector_in.out_layer": ["time_text_embed.text_embedder.linear_2"],
    "guidance_in.in_layer": ["time_text_embed.guidance_embedder.linear_1"],
    "guidance_in.out_layer": ["time_text_embed.guidance_embedder.linear_2"],
    "final_layer.linear": ["proj_out"],
    "final_layer.adaLN_modulation.1": ["norm_out.linear"],
}
DOUBLE, SINGLE = "double_blocks.0.", "single_blocks.0."
BLOCKS = {
    DOUBLE + "img_mod.lin": ["transformer_blocks.0.norm1.linear"],
    DOUBLE + "txt_mod.lin": ["transformer_blocks.0.norm1_context.linear"],
    DOUBLE + "img_attn.qkv": ["transformer_blocks.0.attn." + n for n in ("to_q", "to_k", "to_v")],
    DOUBLE + "txt_attn.qkv": ["transformer_blocks.0.attn." + n for n in ("add_q_proj", "add_k_proj", "add_v_proj")],
    DOUBLE + "img_attn.proj": ["transformer_blocks.0.attn.to_out.0"],
    DOUBLE + "txt_attn.proj": ["transformer_blocks.0.attn.to_add_out"],
    DOUBLE + "img_mlp.0": ["transformer_blocks.0.ff.net.0.proj"],
    DOUBLE + "img_mlp.2": ["transformer_blocks.0.ff.net.2"],
    DOUBLE + "txt_mlp.0": ["transformer_blocks.0.ff_context.net.0.proj"],
    DOUBLE + "txt_mlp.2": ["transformer_blocks.0.ff_context.net.2"],
    SINGLE + "modulation.lin": ["single_transformer_blocks.0.norm.linear"],
    SINGLE + "linear1": ["single_transformer_blocks.0." + n for n in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")],
    SINGLE + "linear2": ["single_transformer_blocks.0.proj_out"],
}
LAYERS = {**TOP, **BLOCKS}
NORMS = {
    DOUBLE + "img_attn.norm.query_norm": "transformer_blocks.0.attn.norm_q",
    DOUBLE + "img_attn.norm.key_norm": "transformer_blocks.0.attn.norm_k",
    DOUBLE + "txt_attn.norm.query_norm": "transformer_blocks.0.attn.norm_added_q",
    DOUBLE + "txt_attn.norm.key_norm": "transformer_blocks.0.attn.norm_added_k",
    SINGLE + "norm.query_norm": "single_transformer_blocks.0.attn.norm_q",
    SINGLE + "norm.key_norm": "single_transformer_blocks.0.attn.norm_k",
}
SWAPPED = "final_layer.adaLN_modulation.1"
X_FLUX = {
    DOUBLE + "processor.qkv_lora1": DOUBLE + "img_attn.qkv",
    DOUBLE + "processor.qkv_lora2": DOUBLE + "txt_attn.qkv",
    DOUBLE + "processor.proj_lora1": DOUBLE + "img_attn.proj",
    DOUBLE + "processor.proj_lora2": DOUBLE + "txt_attn.proj",
    SINGLE + "processor.proj_lora": SINGLE + "linear2",
}


def values(name, shape):
    """Multiples of 1/32 in [-11/32, 11/32], no two neighbours the same; alpha and the like are 1.5."""
    if not shape:
        return torch.tensor(1.5, dtype=torch.float64)
    start = sum(name.encode())
    count = torch.Size(shape).numel()
    return ((torch.arange(count, dtype=torch.float64) * 7 + start) % 23 - 11).reshape(shape) / 32


class Weights:
    """Weights of the network by diffusers' names, to be changed by names of either kind."""

    def __init__(self, parameters):
        self.of = {name: value.double().clone() for name, value in parameters.items()}

    def get(self, target, ending="weight"):
        """The matrix that a file calls `target`, which is one of LAYERS or a layer of diffusers'."""
        whole = torch.cat([self.of[f"{part}.{ending}"] for part in LAYERS.get(target, [target])])
        return torch.cat(whole.chunk(2)[::-1]) if target == SWAPPED else whole

    def set(self, target, whole, ending="weight"):
        whole = torch.cat(whole.chunk(2)[::-1]) if target == SWAPPED else whole
        for part in LAYERS.get(target, [target]):
            rows = len(self.of[f"{part}.{ending}"])
            self.of[f"{part}.{ending}"], whole = whole[:rows], whole[rows:]
        assert len(whole) == 0


class Case:
    """A file, and the weights that it makes."""

    def __init__(self, name, parameters, weight, metadata=None):
        self.name, self.weight, self.metadata = name, weight, metadata or {}
        self.base, self.weights, self.shapes = Weights(parameters), Weights(parameters), {}

    def tensor(self, name, *shape):
        self.shapes[name] = list(shape)
        return values(name, shape)

    def lora(self, target, stem, down, up, alpha=None, scale=1.0, bias=None):
        """A layer of plain LoRA, whose tensors have these ends; alpha is a tensor, or `scale` what it makes."""
        before = self.weights.get(target)
        a = self.tensor(stem + down, RANK, before.shape[1])
        b = self.tensor(stem + up, before.shape[0], RANK)
        if alpha:
            scale = self.tensor(stem + alpha).item() / RANK
        self.weights.set(target, before + self.weight * scale * b @ a)
        if bias:
            change = self.tensor(stem + bias, before.shape[0])
            self.weights.set(target, self.weights.get(target, "bias") + self.weight * scale * change, "bias")

    def difference(self, target, ending, name):
        before = self.weights.get(target, ending)
        self.weights.set(target, before + self.weight * self.tensor(name, *before.shape), ending)

    def replacement(self, target, name):
        self.weights.set(target, self.tensor(name, *self.weights.get(target).shape))


def underscored(name):
    return name.replace(".", "_")


def diffusers_names(parameters):
    return [name.removesuffix(".bias") for name in parameters if name.endswith(".bias")]


def cases(parameters):
    own = diffusers_names(parameters)
    kohya, peft_names = (".lora_down.weight", ".lora_up.weight"), (".lora_A.weight", ".lora_B.weight")
    pattern = {"attn.to_q": 1, "proj_mlp": 5}
    config = {"r": RANK, "lora_alpha": 3, "alpha_pattern": pattern, "target_modules": own}
    metadata = {"lora_adapter_metadata": json.dumps({f"transformer.{k}": v for k, v in config.items()})}

    case = Case("diffusers with metadata", parameters, 0.7, metadata)
    for layer in own:
        alpha = next((v for k, v in pattern.items() if layer.endswith(k)), 3)
        case.lora(layer, "transformer." + layer, *peft_names, scale=alpha / RANK)
    yield case

    case = Case("diffusers' names alone, of an adapter", parameters, 0.9)
    for layer in own:
        case.lora(layer, layer, ".lora_A.default.weight", ".lora_B.default.weight")
    yield case

    case = Case("kohya", parameters, 0.7)
    for layer in LAYERS:
        case.lora(layer, "lora_unet_" + underscored(layer), *kohya, alpha=".alpha")
    yield case

    case = Case("kohya on diffusers' names", parameters, -0.6)
    for layer in own:
        case.lora(layer, "lora_transformer_" + underscored(layer), *kohya, alpha=".alpha")
    yield case

    case = Case("OneTrainer's own names", parameters, 0.7)
    for layer, parts in LAYERS.items():
        for i, part in enumerate(parts):
            stem = f"{layer}.{i}" if len(parts) > 1 else "img_in.proj" if layer == "img_in" else layer
            target = part if len(parts) > 1 else layer
            case.lora(target, "transformer." + stem, *kohya, alpha=".alpha")
    yield case

    case = Case("ComfyUI", parameters, 0.8)
    for layer in LAYERS:
        case.lora(layer, "diffusion_model." + layer, *kohya, alpha=".alpha")
    yield case

    case = Case("ComfyUI with A and B", parameters, 0.8)
    for layer in LAYERS:
        case.lora(layer, "diffusion_model." + layer, *peft_names)
        case.difference(layer, "bias", f"diffusion_model.{layer}.diff_b")
    for norm, target in NORMS.items():
        ending = ".scale.diff" if norm.startswith(DOUBLE) else ".diff"
        case.difference(target, "weight", f"diffusion_model.{norm}{ending}")
    yield case

    for name, prefix in [("x-flux", ""), ("x-flux in ComfyUI", "diffusion_model.")]:
        case = Case(name, parameters, 0.7)
        for stem, layer in X_FLUX.items():
            case.lora(layer, prefix + stem, ".down.weight", ".up.weight")
        # The first three parts of `linear1`.
        stem, mlp = f"{prefix}{SINGLE}processor.qkv_lora", case.weights.get(SINGLE + "linear1")[3 * D:]
        qkv = case.weights.get(SINGLE + "linear1")[:3 * D]
        a, b = case.tensor(stem + ".down.weight", RANK, D), case.tensor(stem + ".up.weight", 3 * D, RANK)
        case.weights.set(SINGLE + "linear1", torch.cat([qkv + case.weight * b @ a, mlp]))
        yield case

    case = Case("Control LoRA", parameters, 1.0)
    for layer in LAYERS:
        case.lora(layer, layer, *peft_names, bias=".lora_B.bias")
    for norm, target in NORMS.items():
        case.replacement(target, norm + ".scale")
    yield case

    case = Case("Control LoRA in ComfyUI", parameters, 1.0)
    for layer in LAYERS:
        case.lora(layer, "diffusion_model." + layer, *peft_names)
        case.difference(layer, "bias", f"diffusion_model.{layer}.diff_b")
    for norm, target in NORMS.items():
        case.replacement(target, f"diffusion_model.{norm}.scale.set_weight")
    case.tensor("diffusion_model.img_in.reshape_weight", 2)
    yield case

    case = Case("Control LoRA of diffusers", parameters, 1.0)
    for layer in own:
        case.lora(layer, "transformer." + layer, *peft_names)
    for target in NORMS.values():
        case.replacement(target, f"transformer.{target}.weight")
    yield case

    case = Case("fal's Kontext", parameters, 0.7)
    for layer in [*BLOCKS, "final_layer.linear"]:
        case.lora(layer, "base_model.model." + layer, *peft_names)
    yield case

    case = Case("LoHa and LoKr on Black Forest Labs' names", parameters, 0.7)
    for layer in LAYERS:
        stem, before = "lora_unet_" + underscored(layer), case.weights.get(layer)
        rows, columns = before.shape
        if len(LAYERS[layer]) > 1:
            a, b, c, d = (case.tensor(f"{stem}.hada_w{n}_{m}", *shape) for n in (1, 2) for m, shape in
                          (("a", (rows, RANK)), ("b", (RANK, columns))))
            change = 8 * (a @ b) * (c @ d)
            change = case.tensor(stem + ".alpha").item() / RANK * change / 8
        else:
            first = case.tensor(stem + ".lokr_w1", 2, 2)
            second = case.tensor(stem + ".lokr_w2", rows // 2, columns // 2)
            change = torch.kron(first, second)
        case.weights.set(layer, before + case.weight * change)
    yield case

    case = Case("LoKr of SimpleTuner", parameters, 0.7)
    for layer in own:
        stem, before = "lycoris_" + underscored(layer), case.weights.get(layer)
        rows, columns = before.shape
        first = case.tensor(stem + ".lokr_w1", 2, 2)
        second = case.tensor(stem + ".lokr_w2", rows // 2, columns // 2)
        case.weights.set(layer, before + case.weight * torch.kron(first, second))
    yield case

    # The lengths are those of the whole layer's columns, or of rows.
    case = Case("DoRA", parameters, 0.7)
    for layer in BLOCKS:
        stem, before = "lora_unet_" + underscored(layer), case.weights.get(layer)
        merged = before + values(stem + kohya[1], (before.shape[0], RANK)) @ values(stem + kohya[0], (RANK, before.shape[1]))
        case.shapes |= {stem + kohya[0]: [RANK, before.shape[1]], stem + kohya[1]: [before.shape[0], RANK]}
        of_rows = "attn" in layer
        lengths = case.tensor(stem + ".dora_scale", *((len(before), 1) if of_rows else (1, before.shape[1])))
        merged = lengths * merged / merged.norm(dim=1 if of_rows else 0, keepdim=True)
        case.weights.set(layer, before + case.weight * (merged - before))
    yield case


def network(config, parameters):
    model = FluxTransformer2DModel.from_config(json.loads(config)).double()
    model.load_state_dict({name: value.double() for name, value in parameters.items()})
    return model.eval()


def output(model, inputs):
    keep = ("hidden_states", "encoder_hidden_states", "pooled_projections", "timestep", "guidance")
    arguments = {name: inputs[name].double() for name in keep}
    with torch.no_grad():
        return model(**arguments, img_ids=inputs["img_ids"], txt_ids=inputs["txt_ids"], return_dict=False)[0]


def patch_converters():
    """diffusers' converters for networks of this size: one block of each kind, width 16."""
    source = inspect.getsource(converters)
    for before, after in [("3072", str(D)), ("12288", str(4 * D)), ("range(19)", "range(1)"), ("range(38)", "range(1)"),
                          ("num_layers = 19", "num_layers = 1"), ("num_single_layers = 38", "num_single_layers = 1")]:
        assert before in source
        source = source.replace(before, after)
    exec(compile(source, converters.__file__, "exec"), converters.__dict__)
    for name in dir(converters):
        if name.startswith("_convert_") and hasattr(lora_pipeline, name):
            setattr(lora_pipeline, name, getattr(converters, name))
    # In Control LoRAs diffusers swaps the halves of A too, whose rows are ranks: wrong, and mended here.
    swap = converters.swap_scale_shift
    converters.swap_scale_shift = lambda weight: weight if len(weight) == RANK else swap(weight)


# What diffusers reads rightly, and of which layers.
READ_BY_DIFFUSERS = {
    "diffusers with metadata": lambda name: True,
    "kohya": lambda name: "blocks" in name,
    "kohya on diffusers' names": lambda name: "_attn_" in name or "_embedder" in name,
    "ComfyUI": lambda name: "blocks" in name,
    "x-flux": lambda name: True,
    "x-flux in ComfyUI": lambda name: True,
    "Control LoRA": lambda name: True,
    "Control LoRA of diffusers": lambda name: True,
    "fal's Kontext": lambda name: True,
}


def by_diffusers(case, config, parameters, inputs, names):
    model = network(config, parameters)
    pipeline = FluxPipeline(None, None, None, None, None, None, model)
    with tempfile.TemporaryDirectory() as folder:
        tensors = {name: values(name, case.shapes[name]).float().contiguous() for name in names}
        save_file(tensors, Path(folder) / "lora.safetensors", metadata={"format": "pt", **case.metadata})
        pipeline.load_lora_weights(folder, weight_name="lora.safetensors", adapter_name="a")
    pipeline.set_adapters(["a"], [case.weight])
    return output(model.double(), inputs)


def main():
    transformers.utils.logging.set_verbosity_error()
    with safe_open(sys.argv[1], "pt") as file:
        config = file.metadata()["config"]
    tensors = load_file(sys.argv[1])
    of = lambda kind: {name.removeprefix(kind): value for name, value in tensors.items() if name.startswith(kind)}
    parameters, inputs = of("param."), of("input.")
    patch_converters()
    versions = {m.__name__: m.__version__.split("+")[0] for m in (diffusers, peft, torch, transformers)}
    golden = {"made_by": versions, "cases": []}
    before = output(network(config, parameters), inputs)
    for case in cases(parameters):
        expected = output(network(config, case.weights.of), inputs)
        change = ((expected - before).abs().max() / before.abs().max()).item()
        note = ""
        if wanted := READ_BY_DIFFUSERS.get(case.name):
            names = [name for name in case.shapes if wanted(name)]
            mine = expected
            if len(names) < len(case.shapes):
                part = next(c for c in cases(parameters) if c.name == case.name)
                mine = output(network(config, restricted(part, parameters, names)), inputs)
            theirs = by_diffusers(case, config, parameters, inputs, names)
            error = ((theirs - mine).abs().max() / mine.abs().max()).item()
            note = f"; diffusers differs by {error:.1e} on {len(names)} of {len(case.shapes)} tensors"
            assert error < 1e-6, (case.name, error)
        print(f"{case.name}: {len(case.shapes)} tensors, changes the output by {change:.2f}{note}")
        assert change > 0.05
        golden["cases"].append({
            "name": case.name, "weight": case.weight, "metadata": case.metadata, "tensors": case.shapes,
            "output": [round(x, 8) for x in expected.flatten().tolist()],
        })
    text = json.dumps(golden, separators=(",", ":"), ensure_ascii=False)
    Path(sys.argv[2]).write_text(text + "\n")
    print(f"{sys.argv[2]}: {len(text)} bytes")


def restricted(case, parameters, names):
    """The weights with the changes of the named tensors alone: whole layers are left out."""
    weights = Weights(parameters)
    for target in {**LAYERS, **{layer: [layer] for layer in diffusers_names(parameters)}}:
        stems = ["lora_unet_" + underscored(target), "lora_transformer_" + underscored(target), "diffusion_model." + target]
        if any(name.startswith(stem + ".lora_down") for name in names for stem in stems):
            weights.set(target, case.weights.get(target))
    return weights.of


if __name__ == "__main__":
    main()
