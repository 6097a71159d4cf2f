"""Original names of Stable Diffusion's tensors and diffusers' names for them: `single_file_keys.json`.

The original names are built here as the constructors of the original code number their blocks. diffusers' own
converters (`diffusers.loaders.single_file_utils`) say what becomes of each; every model must then load with no key
missing or left over, and with the values it had.

    python tools/oracle/single_file_keys.py crates/calotype/tests/golden/single_file_keys.json

`parts`: for each network its `config`, and `keys`: [original key, shape there, [diffusers' names], how], where `how` is
"" or `thirds` (rows of the three names in turn), `squeeze`, `transpose`. `cases`: which parts make a model, under which
prefixes, with which other keys, and what it is.
"""

import json
import sys

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders import single_file_utils as utils
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

UNET = dict(sample_size=32, layers_per_block=1, norm_num_groups=32)
SD1 = dict(down_block_types=["CrossAttnDownBlock2D", "DownBlock2D"], up_block_types=["UpBlock2D", "CrossAttnUpBlock2D"])
SD2 = SD1 | dict(use_linear_projection=True)
SDXL = dict(
    down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=8,
)
VAE = dict(latent_channels=4, norm_num_groups=32, layers_per_block=1)
TEXT = dict(vocab_size=60, max_position_embeddings=16, intermediate_size=96, bos_token_id=0, eos_token_id=2)

UNETS = {
    "unet_sd1": UNET | SD1 | dict(block_out_channels=[32, 64], layers_per_block=2, cross_attention_dim=64, attention_head_dim=8),
    "unet_sd2": UNET | SD2 | dict(block_out_channels=[64, 128], cross_attention_dim=64, attention_head_dim=[1, 2]),
    "unet_sdxl": UNET | SDXL | dict(
        block_out_channels=[32, 64, 128], cross_attention_dim=192, attention_head_dim=[1, 1, 2],
        transformer_layers_per_block=[1, 1, 2], projection_class_embeddings_input_dim=128 + 48,
    ),
}
VAES = {"vae": VAE | dict(
    block_out_channels=[32, 64, 64], down_block_types=["DownEncoderBlock2D"] * 3, up_block_types=["UpDecoderBlock2D"] * 3,
)}
TEXTS = {
    "text_clip": (CLIPTextModel, TEXT | dict(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=1, hidden_act="quick_gelu", projection_dim=64)),
    # One layer more is in the file: SD 2 does without the last.
    "text_open_clip": (CLIPTextModel, TEXT | dict(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=1, hidden_act="gelu", projection_dim=64)),
    "text_open_clip_projected": (CLIPTextModelWithProjection, TEXT | dict(
        hidden_size=128, num_hidden_layers=2, num_attention_heads=2, hidden_act="gelu", projection_dim=128)),
}


def both(*layers):
    return [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]


def transformer_keys(depth):
    keys = both("norm", "proj_in", "proj_out")
    for i in range(depth):
        stem = f"transformer_blocks.{i}."
        keys += [f"{stem}{a}.{p}.weight" for a in ("attn1", "attn2") for p in ("to_q", "to_k", "to_v")]
        keys += both(*(stem + name for name in (
            "attn1.to_out.0", "attn2.to_out.0", "ff.net.0.proj", "ff.net.2", "norm1", "norm2", "norm3")))
    return keys


def unet_keys(config):
    """As `UNetModel.__init__` appends to its lists of blocks."""
    channels = config["block_out_channels"]
    attends = [kind.startswith("CrossAttn") for kind in config["down_block_types"]]
    depths = config.get("transformer_layers_per_block", [1] * len(channels))
    width = channels[0]
    skips = [width]
    keys = both("time_embed.0", "time_embed.2", "input_blocks.0.0", "out.0", "out.2")
    if config.get("addition_embed_type"):
        keys += both("label_emb.0.0", "label_emb.0.2")

    def resnet(stem, has_skip):
        layers = ["in_layers.0", "in_layers.2", "emb_layers.1", "out_layers.0", "out_layers.3"]
        return both(*(f"{stem}.{layer}" for layer in layers + ["skip_connection"] * has_skip))

    count = 1
    for level, out in enumerate(channels):
        for _ in range(config["layers_per_block"]):
            keys += resnet(f"input_blocks.{count}.0", width != out)
            if attends[level]:
                keys += [f"input_blocks.{count}.1.{key}" for key in transformer_keys(depths[level])]
            width = out
            skips.append(width)
            count += 1
        if level + 1 < len(channels):
            keys += both(f"input_blocks.{count}.0.op")
            skips.append(width)
            count += 1
    keys += resnet("middle_block.0", False) + resnet("middle_block.2", False)
    keys += [f"middle_block.1.{key}" for key in transformer_keys(depths[-1])]
    count = 0
    for level in reversed(range(len(channels))):
        for i in range(config["layers_per_block"] + 1):
            place = 1
            keys += resnet(f"output_blocks.{count}.0", width + skips.pop() != channels[level])
            width = channels[level]
            if attends[level]:
                keys += [f"output_blocks.{count}.1.{key}" for key in transformer_keys(depths[level])]
                place = 2
            if level and i == config["layers_per_block"]:
                keys += both(f"output_blocks.{count}.{place}.conv")
            count += 1
    return keys


def vae_keys(config):
    """As `Encoder.__init__` and `Decoder.__init__` do; the decoder prepends its levels."""
    channels, layers = config["block_out_channels"], config["layers_per_block"]
    keys = both("quant_conv", "post_quant_conv")

    def resnet(stem, has_skip):
        return both(*(f"{stem}.{name}" for name in ["norm1", "conv1", "norm2", "conv2"] + ["nin_shortcut"] * has_skip))

    for side in ("encoder", "decoder"):
        keys += both(f"{side}.conv_in", f"{side}.norm_out", f"{side}.conv_out")
        keys += resnet(f"{side}.mid.block_1", False) + resnet(f"{side}.mid.block_2", False)
        keys += both(*(f"{side}.mid.attn_1.{name}" for name in ("norm", "q", "k", "v", "proj_out")))
    width = channels[0]
    for level, out in enumerate(channels):
        for i in range(layers):
            keys += resnet(f"encoder.down.{level}.block.{i}", width != out)
            width = out
        if level + 1 < len(channels):
            keys += both(f"encoder.down.{level}.downsample.conv")
    for level in reversed(range(len(channels))):
        for i in range(layers + 1):
            keys += resnet(f"decoder.up.{level}.block.{i}", width != channels[level])
            width = channels[level]
        if level:
            keys += both(f"decoder.up.{level}.upsample.conv")
    return keys


def open_clip_keys(layers, projected):
    keys = ["positional_embedding", "token_embedding.weight"] + both("ln_final") + ["text_projection"] * projected
    for i in range(layers):
        stem = f"transformer.resblocks.{i}."
        keys += [stem + "attn.in_proj_weight", stem + "attn.in_proj_bias"]
        keys += both(*(stem + name for name in ("attn.out_proj", "ln_1", "ln_2", "mlp.c_fc", "mlp.c_proj")))
    return keys


def squeezed(key):
    return ".mid.attn_1." in key and key.endswith(".weight") and not key.endswith(".norm.weight")


def original(keys, pairs, state):
    """The file's tensors, from a network's own and where each key goes."""
    tensors = {}
    for key in keys:
        names = pairs[key]
        if len(names) == 3:
            tensors[key] = torch.cat([state[name] for name in names])
        elif squeezed(key):
            tensors[key] = state[names[0]][:, :, None, None]
        elif key == "text_projection":
            tensors[key] = state[names[0]].T
        else:
            tensors[key] = state[names[0]]
    return tensors


def pairs_of(keys, convert):
    """What diffusers calls each key: tensors that hold the key's number, and three of them in packed ones."""
    marked = {}
    for number, key in enumerate(keys):
        shape = (1, 1, 1, 1) if squeezed(key) else (1, 1)
        marked[key] = torch.full(shape, float(number))
        if "in_proj" in key:
            marked[key] = torch.full((3, 1), float(number))
    pairs = {key: [] for key in keys}
    for name, tensor in convert(marked).items():
        pairs[keys[int(tensor.flatten()[0])]].append(name)
    return pairs


def part(model, config, keys, convert, other=()):
    """One entry of `parts`, after a round trip of random weights through diffusers' converter."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    state = model.state_dict()
    # transformers 5 leaves the prefix away for the tower alone, as diffusers' loader then does.
    bare = "embeddings.token_embedding.weight" in state
    state = {f"text_model.{name}" if bare else name: tensor for name, tensor in state.items()}
    pairs = pairs_of(keys, convert)
    tensors = original(keys, pairs, state)
    again = convert(tensors | {key: torch.zeros(1) for key in other})
    assert again.keys() == state.keys(), again.keys() ^ state.keys()
    assert all(torch.equal(again[name], state[name]) for name in state)
    how = {key: "thirds" if len(pairs[key]) == 3 else "squeeze" if squeezed(key) else "" for key in keys}
    how |= {key: "transpose" for key in keys if key == "text_projection"}
    return {"config": config, "keys": [[key, list(tensors[key].shape), pairs[key], how[key]] for key in keys]}


def with_prefix(prefix, convert):
    return lambda tensors: convert({prefix + key: tensor for key, tensor in tensors.items()})


def parts():
    for name, config in UNETS.items():
        model = UNet2DConditionModel(**config)
        convert = with_prefix("model.diffusion_model.", lambda t, c=model.config: utils.convert_ldm_unet_checkpoint(t, c))
        yield name, part(model, config, unet_keys(config), convert)
    for name, config in VAES.items():
        model = AutoencoderKL(**config)
        convert = with_prefix("first_stage_model.", lambda t, c=config: utils.convert_ldm_vae_checkpoint(t, c))
        yield name, part(model, config, vae_keys(config), convert)
    for name, (cls, config) in TEXTS.items():
        model = cls(CLIPTextConfig(**config))
        if name == "text_clip":
            keys = list(model.state_dict())
            keys = [key if key.startswith("text_model.") else f"text_model.{key}" for key in keys]
            convert = with_prefix("cond_stage_model.transformer.", utils.convert_ldm_clip_checkpoint)
        else:
            projected = cls is CLIPTextModelWithProjection
            prefix = "conditioner.embedders.1.model." if projected else "cond_stage_model.model."
            keys = open_clip_keys(config["num_hidden_layers"], projected)
            convert = open_clip(prefix)
        yield name, part(model, config, keys, convert)


def open_clip(prefix):
    """diffusers splits packed tensors by the width, which is 1 for the tensors of `pairs_of`."""
    def convert(tensors):
        width = tensors["transformer.resblocks.0.attn.in_proj_bias"].shape[0] // 3

        class Tower:
            config = type("Config", (), {"hidden_size": width})

        tensors = {prefix + key: tensor for key, tensor in tensors.items()}
        return utils.convert_open_clip_checkpoint(Tower, tensors, prefix=prefix)
    return convert


CLIP, OPEN_CLIP = "cond_stage_model.transformer.", "cond_stage_model.model."
TABLES = ["betas", "alphas_cumprod", "model_ema.decay", "model_ema.diffusion_modelout2weight", "denoiser.sigmas", "logvar"]
LAST = [[key.replace("resblocks.0", "resblocks.2"), key] for key in open_clip_keys(1, False) if "resblocks" in key]
CASES = {
    "sd1": dict(
        architecture="Stable Diffusion 1", inpainting=False, parts={"unet": "unet_sd1", "vae": "vae", "text_encoder": "text_clip"},
        prefixes={"unet": "model.diffusion_model.", "vae": "first_stage_model.", "text_encoder": CLIP},
        unneeded=TABLES + [CLIP + "text_model.embeddings.position_ids"], scaling_factor=0.18215, scheduler="PNDMScheduler",
        prediction="epsilon"),
    "inpainting": dict(
        architecture="Stable Diffusion 1", inpainting=True, parts={"unet": "unet_sd1", "vae": "vae", "text_encoder": "text_clip"},
        prefixes={"unet": "model.diffusion_model.", "vae": "first_stage_model.", "text_encoder": CLIP},
        unneeded=TABLES, scaling_factor=0.18215, scheduler="PNDMScheduler", prediction="epsilon"),
    "sd2": dict(
        architecture="Stable Diffusion 2", inpainting=False,
        parts={"unet": "unet_sd2", "vae": "vae", "text_encoder": "text_open_clip"},
        prefixes={"unet": "model.diffusion_model.", "vae": "first_stage_model.", "text_encoder": OPEN_CLIP},
        unneeded=TABLES + [OPEN_CLIP + key for key in ("text_projection", "logit_scale", "attn_mask")]
        + [OPEN_CLIP + key for key, _ in LAST],
        scaling_factor=0.18215, scheduler="DDIMScheduler", prediction="v_prediction"),
    "sdxl": dict(
        architecture="Stable Diffusion XL", inpainting=False,
        parts={"unet": "unet_sdxl", "vae": "vae", "text_encoder": "text_clip", "text_encoder_2": "text_open_clip_projected"},
        prefixes={"unet": "model.diffusion_model.", "vae": "first_stage_model.",
                  "text_encoder": "conditioner.embedders.0.transformer.", "text_encoder_2": "conditioner.embedders.1.model."},
        unneeded=["denoiser.sigmas", "conditioner.embedders.1.model.logit_scale",
                  "conditioner.embedders.0.transformer.text_model.embeddings.position_ids"],
        scaling_factor=0.13025, scheduler="EulerDiscreteScheduler", prediction="epsilon"),
}


def main(path):
    golden = {"parts": dict(parts()), "cases": CASES}
    lines = []
    for name, one in golden["parts"].items():
        keys = ",\n".join(json.dumps(key, separators=(",", ":")) for key in one["keys"])
        lines.append(f'{json.dumps(name)}: {{"config": {json.dumps(one["config"])}, "keys": [\n{keys}]}}')
    text = '{"parts": {\n' + ",\n".join(lines) + '},\n"cases": ' + json.dumps(golden["cases"], indent=1) + "}\n"
    assert json.loads(text) == golden
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    main(sys.argv[1])
