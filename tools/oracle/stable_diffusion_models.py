"""Small models of every Stable Diffusion architecture, with random weights, as diffusers' folders.

`stable_diffusion.py` writes them and what they compute. All weights are rounded to float16, as most published
files have them; the networks then compute in float32.
"""

import json
import shutil

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DDIMScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from tokenizer import train

SCHEDULE = dict(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
CONTEXT = 77
VOCABULARY = 600
CROSS, PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"


def randomise(network, seed):
    """Weights that keep the size of what passes through, biases off 0 and norms off 1, all rounded to float16."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(network.named_parameters()):
        noise = torch.randn(parameter.shape, generator=generator)
        if "embedding.weight" in name and "position" in name or "token_embedding" in name:
            value = 0.5 * noise
        elif parameter.ndim > 1:
            value = noise / parameter[0].numel() ** 0.5
        else:
            value = 0.1 * noise + (1.0 if name.endswith("weight") else 0.0)
        parameter.data = value.half()
    return network.half().eval()


def captions():
    """What the tokenizer is trained on."""
    colours = ["red", "green", "blue", "yellow", "white"]
    nouns = ["cat", "dog", "house", "tree", "fire engine", "boat", "flower", "teapot"]
    return [f"a photo of a {c} {n} beside a {d} {m}" for c in colours for d in colours for n in nouns for m in nouns]


def write_tokenizer(folder, pad, other_pad=None):
    """vocab.json and merges.txt, and the two configurations that transformers 4 wrote beside them.

    In Stable Diffusion 2's, tokenizer_config.json names another padding token, and special_tokens_map.json wins.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ids, merges = train(captions(), VOCABULARY)
    start, end = "<|startoftext|>", "<|endoftext|>"
    special = dict(lstrip=False, normalized=True, rstrip=False, single_word=False)
    tokens = dict(bos_token=dict(content=start, **special), eos_token=dict(content=end, **special))
    tokens |= dict(unk_token=dict(content=end, **special), pad_token=pad)
    config = dict(add_prefix_space=False, do_lower_case=True, errors="replace", model_max_length=CONTEXT)
    config |= dict(tokenizer_class="CLIPTokenizer", pad_token=other_pad or pad)
    (folder / "vocab.json").write_text(json.dumps(ids, ensure_ascii=False, separators=(",", ":")))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "special_tokens_map.json").write_text(json.dumps(tokens, indent=2) + "\n")
    return CLIPTokenizer.from_pretrained(folder), len(ids)


def text_encoder(vocabulary, seed, kind=CLIPTextModel, width=32, layers=3, activation="quick_gelu", end=2):
    """`end` = 2 is what the files of Stable Diffusion 1 have: pooled at the highest id."""
    config = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 8,
        max_position_embeddings=CONTEXT,
        hidden_act=activation,
        projection_dim=width,
        bos_token_id=0 if end == 2 else vocabulary - 2,
        eos_token_id=end,
        pad_token_id=1,
    )
    return randomise(kind(config), seed)


def unet(seed, channels, down, heads, layers=1, **options):
    """`heads` is diffusers' `attention_head_dim`: the number of heads, whatever its name."""
    up = [block.replace("Down", "Up") for block in reversed(down)]
    arguments = dict(in_channels=4, out_channels=4, sample_size=8, cross_attention_dim=32, norm_num_groups=4)
    arguments |= dict(block_out_channels=channels, down_block_types=down, up_block_types=up)
    return randomise(
        UNet2DConditionModel(layers_per_block=layers, attention_head_dim=heads, **(arguments | options)), seed
    )


def autoencoder(seed, **options):
    arguments = dict(block_out_channels=[8, 16], layers_per_block=1, norm_num_groups=4, latent_channels=4)
    arguments |= dict(down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2)
    return randomise(AutoencoderKL(sample_size=16, **(arguments | options)), seed)


def save(pipeline, folder, tokenizers):
    """As `save_pretrained` writes it, but for the tokenizers, which stay as published models have them."""
    pipeline.save_pretrained(folder)
    for name, pads in tokenizers.items():
        shutil.rmtree(folder / name)
        write_tokenizer(folder / name, *pads)


def as_published(folder):
    """Names the text encoder's weights as transformers 4 did, with the positions that it kept beside them."""
    path = folder / "text_encoder" / "model.safetensors"
    weights = {f"text_model.{name}": value for name, value in load_file(path).items()}
    weights["text_model.embeddings.position_ids"] = torch.arange(CONTEXT)[None]
    save_file(weights, path, metadata=dict(format="pt"))


def sd1(folder, inpainting=False):
    """Stable Diffusion 1: four levels; for inpainting a U-Net of two levels with 9 input channels."""
    tokenizer, vocabulary = write_tokenizer(folder / "tokenizer", "<|endoftext|>")
    if inpainting:
        network = unet(21, [8, 16], [CROSS, CROSS], heads=4, in_channels=9)
    else:
        network = unet(11, [8, 8, 8, 16], [CROSS] * 3 + [PLAIN], heads=2, layers=2)
    kind = StableDiffusionInpaintPipeline if inpainting else StableDiffusionPipeline
    pipeline = kind(
        vae=autoencoder(12),
        text_encoder=text_encoder(vocabulary, 13, layers=1 if inpainting else 3),
        tokenizer=tokenizer,
        unet=network,
        scheduler=PNDMScheduler(skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1, **SCHEDULE),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    save(pipeline, folder, dict(tokenizer=["<|endoftext|>"]))
    if not inpainting:
        as_published(folder)


def sd2(folder):
    """Stable Diffusion 2: linear projections, heads per level, OpenCLIP's text tower, v-prediction."""
    tokenizer, vocabulary = write_tokenizer(folder / "tokenizer", "!")
    options = dict(use_linear_projection=True, upcast_attention=True)
    scheduler = dict(SCHEDULE, prediction_type="v_prediction", clip_sample=False, set_alpha_to_one=False)
    pipeline = StableDiffusionPipeline(
        vae=autoencoder(32),
        text_encoder=text_encoder(vocabulary, 33, activation="gelu", layers=2, end=vocabulary - 1),
        tokenizer=tokenizer,
        unet=unet(31, [8, 8, 16], [CROSS, CROSS, PLAIN], heads=[2, 2, 4], **options),
        scheduler=DDIMScheduler(steps_offset=1, **scheduler),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    save(pipeline, folder, dict(tokenizer=["!", "<|endoftext|>"]))


def sdxl(folder):
    """Stable Diffusion XL: two text encoders, sizes and pooled text beside the timestep, unequal depths."""
    first, vocabulary = write_tokenizer(folder / "tokenizer", "<|endoftext|>")
    second, _ = write_tokenizer(folder / "tokenizer_2", "!")
    network = unet(
        41,
        [8, 8, 16],
        [PLAIN, CROSS, CROSS],
        heads=[2, 2, 4],
        transformer_layers_per_block=[1, 1, 2],
        use_linear_projection=True,
        cross_attention_dim=24 + 32,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=32 + 6 * 8,
    )
    pipeline = StableDiffusionXLPipeline(
        vae=autoencoder(42, scaling_factor=0.13025),
        text_encoder=text_encoder(vocabulary, 43, width=24),
        text_encoder_2=text_encoder(
            vocabulary, 44, CLIPTextModelWithProjection, activation="gelu", end=vocabulary - 1
        ),
        tokenizer=first,
        tokenizer_2=second,
        unet=network,
        scheduler=EulerDiscreteScheduler(timestep_spacing="leading", steps_offset=1, **SCHEDULE),
        add_watermarker=False,
    )
    save(pipeline, folder, dict(tokenizer=["<|endoftext|>"], tokenizer_2=["!"]))


def single_autoencoders(folder):
    """Flux's: 16 channels, a shift, no 1×1 convolutions around the latent; and the tiny one."""
    flux = dict(latent_channels=16, shift_factor=0.1159, scaling_factor=0.3611)
    flux |= dict(use_quant_conv=False, use_post_quant_conv=False)
    autoencoder(51, **flux).save_pretrained(folder / "vae-flux")
    tiny = AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8),
        decoder_block_out_channels=(8, 8, 8),
        num_encoder_blocks=(1, 2, 2),
        num_decoder_blocks=(2, 2, 1),
    )
    randomise(tiny, 52).save_pretrained(folder / "vae-tiny")


def single_unets(folder):
    """U-Nets of other shapes: BK-SDM's has no middle, SSD-1B's has depths of its own for every transformer and one
    residual block in the middle, a latent consistency model's takes the guidance scale."""
    two = dict(channels=[8, 16], heads=2)
    unet(61, down=[CROSS, CROSS], mid_block_type=None, **two).save_pretrained(folder / "unet-no-middle")
    depths = dict(
        transformer_layers_per_block=[1, [2, 1]],
        reverse_transformer_layers_per_block=[[1, 2, 1], 1],
        mid_block_type="UNetMidBlock2D",
        use_linear_projection=True,
    )
    unet(62, down=[PLAIN, CROSS], layers=2, **(two | depths)).save_pretrained(folder / "unet-depths")
    unet(63, down=[CROSS, PLAIN], time_cond_proj_dim=12, **two).save_pretrained(folder / "unet-distilled")


def write_models(folder):
    """Every model under `folder`: sd1, sd1-inpaint, sd2, sdxl, vae-flux, vae-tiny, and three U-Nets alone."""
    sd1(folder / "sd1")
    sd1(folder / "sd1-inpaint", inpainting=True)
    sd2(folder / "sd2")
    sdxl(folder / "sdxl")
    single_autoencoders(folder)
    single_unets(folder)
