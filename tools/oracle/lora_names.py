"""Makes crates/calotype/tests/golden/lora_names.json: which weight each tensor of a LoRA file belongs to.

    python tools/oracle/lora_names.py crates/calotype/tests/golden/lora_names.json

For a tiny Stable Diffusion 1 and a tiny XL, LoRA files are made in
every usual way of naming: two by diffusers' `save_lora_weights`, one by PEFT's `save_pretrained`, the
others by their rule. Each `down` tensor is filled with its own number; the file is loaded by diffusers,
and the layer that ends up with the number is the answer. (PEFT's file, and the one with metadata, are not
loaded again: their numbers are read where they were written.) Files of cloneofsimo's kind are numbered
here by the walk over modules of his `_find_modules_v2`, on the module tree of today's diffusers.
"""

import json
import sys
import tempfile
from pathlib import Path

import diffusers
import peft
import torch
import transformers
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from diffusers.utils import convert_state_dict_to_diffusers
from peft.utils import get_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection
import transformers.integrations.peft

# transformers 5.24 asks for peft 0.22, which is not out; 0.21 does what is needed here.
transformers.integrations.peft.check_peft_version = lambda **_: None

ADAPTER_METADATA = "lora_adapter_metadata"
ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
CLIP_ATTENTION = ["q_proj", "k_proj", "v_proj", "out_proj"]


def unet(xl):
    kind = dict(
        block_out_channels=(8, 16, 24),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 1, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=4 * 6 + 20,
        cross_attention_dim=32,
    ) if xl else dict(
        block_out_channels=(8, 16),
        layers_per_block=2,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=12,
    )
    return UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, norm_num_groups=4, attention_head_dim=4, **kind
    )


def text_encoder(width, projection=None):
    config = CLIPTextConfig(
        vocab_size=40, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=8, projection_dim=projection or width,
    )
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config)


class Model:
    """The parts of one model, and the numbers of their weights."""

    def __init__(self, xl):
        self.xl = xl
        self.pipeline = StableDiffusionXLPipeline if xl else StableDiffusionPipeline
        self.parts = {"unet": unet(xl), "text_encoder": text_encoder(12)}
        if xl:
            self.parts["text_encoder_2"] = text_encoder(20, projection=20)
        # transformers 5 dropped the prefix that the weight files of CLIPTextModel have.
        self.prefix = {
            part: "" if part == "unet" or any("text_model." in name for name in module.state_dict())
            else "text_model."
            for part, module in self.parts.items()
        }
        self.weights = {
            part: {
                self.prefix[part] + name: list(value.shape)
                for name, value in module.state_dict().items()
                if name.endswith(".weight") and value.ndim > 1
            }
            for part, module in self.parts.items()
        }
        self.index = {part: {name: i for i, name in enumerate(names)} for part, names in self.weights.items()}

    def layers(self, part, kinds=(torch.nn.Linear, torch.nn.Conv2d)):
        """Names as in weight files, without `.weight`."""
        return [self.prefix[part] + n for n, m in self.parts[part].named_modules() if isinstance(m, kinds)]

    def fresh(self):
        return Model(self.xl)


def rank_of(index):
    return 1 + index % 3


def tensors_of(model, groups):
    """The file of these stems, filled with one number per layer; returns it and who has which number."""
    file, ids = {}, {}
    for group in groups:
        for stem, layer in group["layers"]:
            out, inputs, *kernel = model.weights[group["part"]][layer + ".weight"]
            index = model.index[group["part"]][layer + ".weight"]
            rank, number = rank_of(index), len(ids) + 1
            ids[number] = (group["part"], stem)
            file[stem + group["down"]] = torch.full((rank, inputs, *kernel), float(number))
            file[stem + group["up"]] = torch.zeros(out, rank, *[1 for _ in kernel])
            if group["alpha"]:
                file[stem + group["alpha"]] = torch.tensor(0.5 * rank)
    return file, ids


def loaded(model, file):
    """Lets diffusers load the file into fresh networks: number of a layer -> (part, layer, scale)."""
    model = model.fresh()
    state, alphas, *_ = model.pipeline.lora_state_dict(dict(file), unet_config=model.parts["unet"].config)
    model.pipeline.load_lora_into_unet(
        state, network_alphas=alphas, unet=model.parts["unet"], adapter_name="x"
    )
    for part in model.parts:
        if part != "unet":
            if model.prefix[part]:
                old, new = f"{part}.{model.prefix[part]}", f"{part}."
                state = {k.replace(old, new): v for k, v in state.items()}
                alphas = alphas and {k.replace(old, new): v for k, v in alphas.items()}
            model.pipeline.load_lora_into_text_encoder(
                state, network_alphas=alphas, text_encoder=model.parts[part], prefix=part, adapter_name="x"
            )
    return numbers_in(model)


def numbers_in(model):
    found = {}
    for part, module in model.parts.items():
        for name, layer in module.named_modules():
            if hasattr(layer, "lora_A") and len(layer.lora_A):
                adapter = next(iter(layer.lora_A))
                number = int(layer.lora_A[adapter].weight.flatten()[0])
                name = name.removeprefix("base_model.model.")
                found[number] = (part, model.prefix[part] + name, layer.scaling[adapter])
    return found


def case(model, name, groups, file, ids, found, metadata=None, with_alpha=False):
    """What the test reads: stems with the index of the weight that they belong to, its rank and alpha."""
    if set(found) != set(ids):
        lost = [ids[n] for n in set(ids) - set(found)]
        sys.exit(f"{name}: diffusers loaded {len(found)} of {len(ids)}; not: {lost[:5]}")
    written = []
    for group in groups:
        rows = []
        for number, (part, stem) in ids.items():
            if part == group["part"]:
                assert found[number][0] == part
                index = model.index[part][found[number][1] + ".weight"]
                rank = file[stem + group["down"]].shape[0]
                rows.append([stem, index, rank] + ([found[number][2] * rank] if with_alpha else []))
        written.append({k: group[k] for k in ("part", "down", "up", "alpha")} | {"layers": rows})
    return {"name": name, "metadata": metadata or {}, "groups": written}


def by_rule(model, name, groups):
    file, ids = tensors_of(model, groups)
    return case(model, name, groups, file, ids, loaded(model, file))


def group(part, layers, stem, down, up, alpha=None):
    return {"part": part, "layers": [(stem(x), x) for x in layers], "down": down, "up": up, "alpha": alpha}


def kohya(model, layers_of, unet_name=lambda layer: layer):
    first = "lora_te1_" if model.xl else "lora_te_"
    tags = {"unet": "lora_unet_", "text_encoder": first, "text_encoder_2": "lora_te2_"}
    spell = {part: (unet_name if part == "unet" else lambda layer: layer) for part in model.parts}
    return [
        group(part, layers_of(part), lambda x, p=part: tags[p] + spell[p](x).replace(".", "_"),
              ".lora_down.weight", ".lora_up.weight", ".alpha")
        for part in model.parts
    ]


def ldm_name(layer):
    """Stability's name of a layer of the tiny XL U-Net (two layers per block), written out by hand."""
    whole = {
        "conv_in": "input_blocks.0.0", "conv_out": "out.2",
        "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
        "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
    }
    if layer in whole:
        return whole[layer]
    places = {"mid_block.resnets.0": "middle_block.0", "mid_block.attentions.0": "middle_block.1",
              "mid_block.resnets.1": "middle_block.2",
              "down_blocks.0.downsamplers.0.conv": "input_blocks.3.0.op",
              "down_blocks.1.downsamplers.0.conv": "input_blocks.6.0.op",
              "up_blocks.0.upsamplers.0.conv": "output_blocks.2.2.conv",
              "up_blocks.1.upsamplers.0.conv": "output_blocks.5.2.conv"}
    for block, first in enumerate((1, 4, 7)):
        for n in range(2):
            places[f"down_blocks.{block}.resnets.{n}"] = f"input_blocks.{first + n}.0"
            places[f"down_blocks.{block}.attentions.{n}"] = f"input_blocks.{first + n}.1"
    for block, first in enumerate((0, 3, 6)):
        for n in range(3):
            places[f"up_blocks.{block}.resnets.{n}"] = f"output_blocks.{first + n}.0"
            places[f"up_blocks.{block}.attentions.{n}"] = f"output_blocks.{first + n}.1"
    inner = {"conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "conv2": "out_layers.3",
             "conv_shortcut": "skip_connection"}
    place = max((p for p in places if layer == p or layer.startswith(p + ".")), key=len)
    rest = layer[len(place):].lstrip(".")
    return ".".join(x for x in (places[place], inner.get(rest, rest)) if x)


def old_processors(model):
    """Names of diffusers 0.12 to 0.16: adapters inside the attention processors."""
    short = {"to_out.0": "to_out", "q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "out_proj": "to_out"}

    def stem(part):
        def of(layer):
            tail = next(t for t in ATTENTION + CLIP_ATTENTION if layer.endswith("." + t))
            middle = ".processor" if part == "unet" else ""
            return f"{part}.{layer[:-len(tail) - 1]}{middle}.{short.get(tail, tail)}_lora"
        return of

    return [group(p, ends_with(model, p), stem(p), ".down.weight", ".up.weight") for p in model.parts]


def ends_with(model, part, tails=None):
    tails = tails or (ATTENTION if part == "unet" else CLIP_ATTENTION)
    return [x for x in model.layers(part) if any(x.endswith("." + t) for t in tails)]


def adapted(model, alpha_pattern=None):
    """Fresh networks with PEFT adapters on their attention, each `down` filled with its own number."""
    model = model.fresh()
    number, ids = 0, {}
    for part, module in model.parts.items():
        module.add_adapter(peft.LoraConfig(
            r=4, lora_alpha=2, target_modules=ATTENTION if part == "unet" else CLIP_ATTENTION,
            alpha_pattern=alpha_pattern or {},
        ))
        for name, layer in module.named_modules():
            if hasattr(layer, "lora_A"):
                number += 1
                layer.lora_A["default"].weight.data.fill_(number)
                ids[number] = (part, f"{part}.{name}")
    return model, ids


def saved(model, name, down, up, convert, metadata):
    """A file of `save_lora_weights`, with or without the adapters' configuration in its metadata."""
    changed = {"attn2.to_k": 3.0} if metadata else None
    trained, ids = adapted(model, changed)
    states = {part: get_peft_model_state_dict(module) for part, module in trained.parts.items()}
    arguments = {}
    for part, state in states.items():
        arguments[f"{part}_lora_layers"] = convert_state_dict_to_diffusers(state) if convert else state
        if metadata:
            arguments[f"{part}_lora_adapter_metadata"] = trained.parts[part].peft_config["default"].to_dict()
    with tempfile.TemporaryDirectory() as folder:
        trained.pipeline.save_lora_weights(folder, **arguments)
        path = Path(folder) / "pytorch_lora_weights.safetensors"
        file = load_file(path)
        with safe_open(path, "pt") as opened:
            text = opened.metadata()
    groups = [
        {"part": part, "down": down[part != "unet"], "up": up[part != "unet"], "alpha": None}
        for part in model.parts
    ]
    kept = {}
    if metadata:
        all_keys = json.loads(text[ADAPTER_METADATA])
        wanted = ("r", "lora_alpha", "alpha_pattern", "rank_pattern", "use_rslora", "use_dora", "peft_type")
        wanted_only = {k: v for k, v in all_keys.items() if k.split(".", 1)[1] in wanted}
        kept[ADAPTER_METADATA] = json.dumps(wanted_only)
    found = numbers_in(trained)
    if not metadata:
        assert {n: f[:2] for n, f in loaded(model, file).items()} == {n: f[:2] for n, f in found.items()}
    return case(model, name, groups, file, ids, found, kept, with_alpha=bool(metadata))


def saved_by_peft(model, name):
    """`base_model.model.` names: PEFT's own file of the U-Net."""
    network = peft.get_peft_model(
        model.fresh().parts["unet"], peft.LoraConfig(r=2, target_modules=ATTENTION + ["conv1", "ff.net.2"])
    )
    ids = {}
    for n, layer in network.named_modules():
        if hasattr(layer, "lora_A"):
            layer.lora_A["default"].weight.data.fill_(len(ids) + 1)
            ids[len(ids) + 1] = ("unet", n)
    with tempfile.TemporaryDirectory() as folder:
        network.save_pretrained(folder)
        file = load_file(Path(folder) / "adapter_model.safetensors")
    empty = model.fresh()
    empty.parts = {"unet": network}
    groups = [{"part": "unet", "down": ".lora_A.weight", "up": ".lora_B.weight", "alpha": None}]
    return case(model, name, groups, file, ids, numbers_in(empty))


def numbered(model, name, unet_classes):
    """cloneofsimo's numbering: linear (and convolution) layers below modules of the named classes."""
    groups, metadata = [], {}
    for part, classes in (("unet", unet_classes), ("text_encoder", ["CLIPAttention"])):
        rows = []
        for ancestor_name, ancestor in model.parts[part].named_modules():
            if type(ancestor).__name__ in classes:
                for n, module in ancestor.named_modules():
                    if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
                        layer = f"{model.prefix[part]}{ancestor_name}.{n}.weight"
                        rows.append([f"{part}:{len(rows)}", model.index[part][layer], 2])
        metadata[part] = json.dumps(classes)
        groups.append({"part": part, "down": ":down", "up": ":up", "alpha": None, "layers": rows})
    return {"name": name, "metadata": metadata, "groups": groups}


def cases(model):
    linear = lambda part: model.layers(part, torch.nn.Linear)
    new = saved(model, "diffusers lora.down", (".lora.down.weight", ".lora_linear_layer.down.weight"),
                (".lora.up.weight", ".lora_linear_layer.up.weight"), True, False)
    plain = saved(model, "diffusers peft", (".lora_A.weight",) * 2, (".lora_B.weight",) * 2, False, True)
    if model.xl:
        return [
            by_rule(model, "kohya in Stability's names", kohya(model, model.layers, ldm_name)),
            by_rule(model, "kohya", kohya(model, lambda p: [x for x in linear(p) if "attn" in x])),
            new, plain,
        ]
    classes = ["CrossAttention", "Attention", "GEGLU"]
    return [
        by_rule(model, "kohya", kohya(model, model.layers)),
        by_rule(model, "diffusers processors", old_processors(model)),
        new, plain, saved_by_peft(model, "peft"),
        numbered(model, "cloneofsimo", classes),
        numbered(model, "cloneofsimo with convolutions", ["ResnetBlock2D", *classes]),
    ]


def main():
    torch.manual_seed(0)
    made_by = {m.__name__: m.__version__.split("+")[0] for m in (diffusers, transformers, peft, torch)}
    golden = {"made_by": made_by, "models": []}
    for name, xl in (("sd1", False), ("sdxl", True)):
        model = Model(xl)
        parts = {part: list(weights.items()) for part, weights in model.weights.items()}
        golden["models"].append({"name": name, "parts": parts, "files": cases(model)})
    text = json.dumps(golden, separators=(",", ":"), ensure_ascii=False)
    Path(sys.argv[1]).write_text(text + "\n")
    print(f"{sys.argv[1]}: {len(text)} bytes")


if __name__ == "__main__":
    main()
