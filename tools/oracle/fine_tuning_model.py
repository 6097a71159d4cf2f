"""The model that fine_tuning.py trains, and all its random numbers."""

import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, StableDiffusionPipeline

from stable_diffusion_models import CONTEXT, CROSS, PLAIN, SCHEDULE, autoencoder, text_encoder, unet, write_tokenizer
from stable_diffusion_models import save as save_pipeline

SEED = 1841
STEPS, BATCH, PICTURES, SIDE = 50, 4, 8, 32
LATENT = (4, SIDE // 2, SIDE // 2)
CAPTIONS = [
    "a photo of a red cat",
    "a photo of a blue house beside a green tree",
    "a white teapot",
    "",
    "a photo of a yellow fire engine beside a red flower",
    "green boat",
    "a dog beside a dog",
    "a photo of a blue flower",
]


def pictures(generator):
    """[8, 3, 32, 32] in [-1, 1], exact 8-bit values: a few soft blobs under a little grain."""
    coarse = torch.rand(PICTURES, 3, 5, 5, generator=generator)
    smooth = F.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic", align_corners=True)
    grain = 0.05 * torch.randn(PICTURES, 3, SIDE, SIDE, generator=generator)
    return (255 * (smooth + grain).clamp(0, 1)).round() / 127.5 - 1


def draw_inputs(tokenizer):
    """What a step reads. Step s takes pictures and captions (4 s + i) mod 8; noise is exact in float16."""
    generator = torch.Generator().manual_seed(SEED)
    pixel_values = pictures(generator)

    def normal(*shape):
        return torch.randn(shape, generator=generator).half()

    timesteps = torch.randint(0, SCHEDULE["num_train_timesteps"], (STEPS, BATCH), generator=generator)
    timesteps[0, 0], timesteps[1, 0] = SCHEDULE["num_train_timesteps"] - 1, 0  # both ends
    ids = tokenizer(CAPTIONS, max_length=CONTEXT, padding="max_length", truncation=True, return_tensors="pt").input_ids
    return dict(
        pixel_values=pixel_values,  # [8, 3, 32, 32]
        input_ids=ids,  # [8, 77]
        timesteps=timesteps,  # [50, 4]
        noise=normal(STEPS, BATCH, *LATENT),  # [50, 4, 4, 16, 16]
        posterior_noise=normal(STEPS, BATCH, *LATENT),  # latent = (mean + std · this) · scaling_factor
        offset_noise=normal(STEPS, BATCH, LATENT[0], 1, 1),  # noise + 0.1 · this, in `noise_offset`
        flow_times=torch.sigmoid(torch.randn(STEPS, BATCH, generator=generator)),  # logit-normal, in `flow`
    )


def frozen_autoencoder(pixel_values):
    """Its posterior is narrow, and `scaling_factor` makes the latents' standard deviation 1."""
    vae = autoencoder(92, block_out_channels=[16, 16], norm_num_groups=4)
    vae.quant_conv.bias.data[LATENT[0] :] = -4.0
    with torch.no_grad():
        spread = vae.float().encode(pixel_values).latent_dist.mean.std().item()
    vae.register_to_config(scaling_factor=round(1 / spread, 4), sample_size=SIDE)
    return vae.half()


def write_pipeline(folder):
    """Two levels of 16 and 32 channels, cross-attention in the outer one and in the middle."""
    tokenizer, vocabulary = write_tokenizer(folder / "tokenizer", "<|endoftext|>")
    pipeline = StableDiffusionPipeline(
        vae=frozen_autoencoder(pictures(torch.Generator().manual_seed(SEED))),
        text_encoder=text_encoder(vocabulary, 93, layers=2),
        tokenizer=tokenizer,
        unet=unet(91, [16, 32], [CROSS, PLAIN], heads=4, sample_size=LATENT[1]),
        scheduler=DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1, **SCHEDULE),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    save_pipeline(pipeline, folder, dict(tokenizer=["<|endoftext|>"]))
