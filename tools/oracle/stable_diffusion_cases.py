"""What diffusers computes with the models of stable_diffusion_models.py, case by case.

Random numbers that diffusers would draw are given: `noise` and `latents` have unit variance, `posterior_noise` is
the VAE's, `masked_posterior_noise` that of the masked picture, `noises` the scheduler's, one a step.
"""

import contextlib
import importlib
import json

import diffusers
import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DiffusionPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from diffusers.models.autoencoders import vae as vae_module
from safetensors.torch import save_file
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from stable_diffusion_models import CONTEXT, SCHEDULE

PROMPT, NEGATIVE = "a red cat", "a house"
PROMPTS = [PROMPT, "", "A Red CAT, beside a house!", "wow!!! ok!", "a blue teapot " * 40, "a <|endoftext|> cat"]
LEADING = dict(timestep_spacing="leading", steps_offset=1)

# Our sampler: diffusers' scheduler and what it is given beside the noise schedule.
SAMPLERS = {
    "ddim": ("DDIMScheduler", dict(clip_sample=False, set_alpha_to_one=False, steps_offset=1)),
    "pndm": ("PNDMScheduler", dict(skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1)),
    "euler": ("EulerDiscreteScheduler", LEADING),
    "heun": ("HeunDiscreteScheduler", {}),
    "dpm2": ("KDPM2DiscreteScheduler", {}),
    "dpm++2s": ("DPMSolverSinglestepScheduler", dict(solver_order=2, use_exponential_sigmas=True)),
    "dpm++2m": ("DPMSolverMultistepScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "lms": ("LMSDiscreteScheduler", {}),
    "ddpm": ("DDPMScheduler", dict(clip_sample=False)),
    "euler-a": ("EulerAncestralDiscreteScheduler", {}),
    "dpm++2m-sde": ("DPMSolverMultistepScheduler", dict(algorithm_type="sde-dpmsolver++")),
    "dpm++3m-sde": (
        "DPMSolverMultistepScheduler",
        dict(algorithm_type="sde-dpmsolver++", solver_order=3, lower_order_final=False),
    ),
    "lcm": ("LCMScheduler", dict(original_inference_steps=50)),
}
# In the order in which diffusers draws them.
VAE_DRAWS = ["posterior_noise", "masked_posterior_noise"]
# With 9 channels the mask and the masked picture go into the U-Net; with 4, what is kept is put back every step.
INPAINTING = [
    ("sd1-inpaint", "ddim", 1.0),
    ("sd1-inpaint", "euler", 1.0),
    ("sd1-inpaint", "ddim", 0.6),
    ("sd1", "ddim", 1.0),
    ("sd1", "ddim", 0.6),
    ("sd1", "euler", 0.6),
    ("sd1", "heun", 0.6),
]
V_PREDICTION = dict(prediction_type="v_prediction")
ZERO_SNR = dict(V_PREDICTION, rescale_betas_zero_snr=True, timestep_spacing="trailing")


@contextlib.contextmanager
def given(numbers, modules):
    """Within it, a module's `randn_tensor` takes the next of `numbers[role]`; `modules` has each role's module."""
    remaining = {role: list(values) for role, values in numbers.items()}

    def draw(role):
        def randn_tensor(shape, dtype=None, **_):
            value = remaining[role].pop(0)
            assert tuple(shape) == tuple(value.shape), f"{role}: {shape} drawn, {value.shape} given"
            return value.to(dtype)

        return randn_tensor

    kept = {role: module.randn_tensor for role, module in modules.items() if hasattr(module, "randn_tensor")}
    for role in kept:
        modules[role].randn_tensor = draw(role)
    yield remaining
    for role, function in kept.items():
        modules[role].randn_tensor = function


class SinglestepAsOurs(diffusers.DPMSolverSinglestepScheduler):
    """Asks the network in the middle of a step at the exact timestep; diffusers cuts off its fraction.

    N of our steps ask 2N − 1 times: exponential levels put the middle of two at their geometric mean.
    """

    def set_timesteps(self, num_inference_steps, **options):
        super().set_timesteps(2 * num_inference_steps - 1, **options)
        levels = np.log(((1 - self.alphas_cumprod) / self.alphas_cumprod).double().numpy()) / 2
        exact = np.array([self._sigma_to_t(sigma, levels) for sigma in self.sigmas[:-1].double().numpy()])
        exact[::2] = exact[::2].round()
        self.timesteps = torch.from_numpy(exact)


def scheduler_of(sampler, **options):
    name, arguments = SAMPLERS[sampler]
    kind = SinglestepAsOurs if sampler == "dpm++2s" else getattr(diffusers, name)
    return kind(**(SCHEDULE | arguments | options))


def in_float32(pipeline):
    """The pipeline in float32, and able to skip layers of its text encoder.

    diffusers 0.42 asks for `text_encoder.text_model`, which transformers 5.6 and later no longer have.
    """
    if not hasattr(pipeline.text_encoder, "text_model"):
        object.__setattr__(pipeline.text_encoder, "text_model", pipeline.text_encoder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(torch.float32)


class Golden:
    """Writes cases under `folder` and collects what `cases.json` says of them."""

    def __init__(self, folder):
        self.folder, self.cases, self.pipelines = folder, [], {}
        self.generator = torch.Generator().manual_seed(1841)

    def normal(self, *shape):
        return torch.randn(shape, generator=self.generator)

    def write(self, name, model, kind, component, inputs, outputs, **settings):
        place = self.folder / "cases" / name
        place.mkdir(parents=True)
        for file, tensors in ("inputs", inputs), ("outputs", outputs):
            assert all(value.isfinite().all() for value in tensors.values()), f"{name}: not finite"
            save_file({key: value.contiguous() for key, value in tensors.items()}, place / f"{file}.safetensors")
        case = dict(name=name, model=model, kind=kind, component=component)
        case |= {file: f"cases/{name}/{file}.safetensors" for file in ("inputs", "outputs")}
        self.cases.append(case | settings)

    # -- networks ----------------------------------------------------------------------------------

    def probe(self, name, model, component, inputs, forward, **settings):
        with torch.no_grad():
            self.write(name, model, "probe", component, inputs, forward(**inputs), **settings)

    def unet(self, model, part="unet"):
        network = UNet2DConditionModel.from_pretrained(self.folder / model / part, dtype=torch.float32)
        channels, width = network.config.in_channels, network.config.cross_attention_dim

        def forward(sample, timestep, encoder_hidden_states, guidance_scale=None, **added):
            scale = None
            if guidance_scale is not None:
                embed = StableDiffusionPipeline.get_guidance_scale_embedding
                scale = embed(None, guidance_scale - 1, network.config.time_cond_proj_dim)
            output = network(sample, timestep, encoder_hidden_states, added_cond_kwargs=added, timestep_cond=scale)
            return dict(output=output.sample)

        # The second has sides that no power of two divides and a timestep between two.
        for name, side, timestep in ("", (8, 8), [3, 871]), ("-odd", (7, 5), [417.5]):
            inputs = dict(sample=self.normal(2, channels, *side), timestep=torch.tensor(timestep))
            inputs["encoder_hidden_states"] = self.normal(2, 9, width)
            if network.config.addition_embed_type == "text_time":
                inputs["text_embeds"] = self.normal(2, 32)
                inputs["time_ids"] = torch.tensor([[32.0, 24, 0, 4, 16, 16], [1024, 768, 8, 0, 512, 640]])
            if network.config.time_cond_proj_dim:
                inputs["guidance_scale"] = torch.tensor([7.5, 2.0])
            self.probe(f"{model}-unet{name}", model, "unet", inputs, forward)

    def autoencoder(self, model, kind=AutoencoderKL, part="", encoded=(16, 16), decoded=(8, 8)):
        network = kind.from_pretrained(self.folder / model / part, dtype=torch.float32)

        def encode(sample):
            if kind is AutoencoderTiny:
                return dict(output=network.encode(sample).latents)
            posterior = network.encode(sample).latent_dist
            return dict(mean=posterior.mean, logvar=posterior.logvar)

        pictures = torch.rand(2, 3, *encoded, generator=self.generator) * 2 - 1
        latents = self.normal(2, network.config.latent_channels, *decoded)
        self.probe(f"{model}-vae-encode", model, "vae-encode", dict(sample=pictures), encode)
        decode = lambda sample: dict(output=network.decode(sample).sample)
        self.probe(f"{model}-vae-decode", model, "vae-decode", dict(sample=latents), decode)

    def text(self, model, number="", kind=CLIPTextModel):
        tokenizer = CLIPTokenizer.from_pretrained(self.folder / model / f"tokenizer{number}")
        padded = tokenizer(PROMPTS, padding="max_length", max_length=CONTEXT, truncation=True, return_tensors="pt")
        outputs = dict(input_ids=padded.input_ids)
        component = f"tokenizer{number}".replace("_", "-")
        self.write(f"{model}-{component}", model, "probe", component, {}, outputs, prompts=PROMPTS)
        path = self.folder / model / f"text_encoder{number}"
        network = kind.from_pretrained(path, dtype=torch.float32).eval()

        def forward(input_ids):
            result = network(input_ids, output_hidden_states=True)
            projected = kind is CLIPTextModelWithProjection
            tower = network.text_model if projected else network
            outputs = dict(output=result.last_hidden_state, penultimate=result.hidden_states[-2])
            outputs["clip_skip_1"] = tower.final_layer_norm(result.hidden_states[-2])
            outputs["pooled_output"] = result.text_embeds if projected else result.pooler_output
            return outputs

        component = f"text-encoder{number}".replace("_", "-")
        short = tokenizer(PROMPTS[:3], padding="longest", return_tensors="pt")
        self.probe(f"{model}-{component}", model, component, dict(input_ids=short.input_ids), forward)

    # -- pipelines ---------------------------------------------------------------------------------

    def pipeline(self, model, kind=None):
        """The folder's pipeline, or a pipeline of class `kind` around its networks; in float32."""
        if model not in self.pipelines:
            self.pipelines[model] = in_float32(DiffusionPipeline.from_pretrained(self.folder / model))
        pipeline = self.pipelines[model]
        return in_float32(getattr(diffusers, kind)(**pipeline.components)) if kind else pipeline

    def generate(self, name, model, task, sampler, inputs, scheduler=None, steps=20, kind=None, **settings):
        """One picture. `inputs`' numbers are fed to diffusers in the order in which it draws them."""
        pipeline = self.pipeline(model, kind)
        pipeline.scheduler = scheduler_of(sampler, **(scheduler or {}))
        settings = dict(prompt=PROMPT, negative_prompt=NEGATIVE, guidance_scale=7.5) | settings
        height, width = (2 * side for side in inputs["latents" if "latents" in inputs else "noise"].shape[2:])
        arguments = dict(settings, num_inference_steps=steps)
        numbers = dict(pipeline=[], vae=[], scheduler=list(inputs.get("noises", [])))
        if "image" in inputs:
            arguments["image"] = (inputs["image"] + 1) / 2
            numbers["pipeline"] = [inputs["noise"]]
            numbers["vae"] = [inputs[key] for key in VAE_DRAWS if key in inputs]
        if "mask" in inputs:
            arguments |= dict(mask_image=inputs["mask"], height=height, width=width)
        if "latents" in inputs:
            arguments |= dict(latents=inputs["latents"], height=height, width=width)
        modules = dict(vae=vae_module)
        modules["pipeline"] = importlib.import_module(type(pipeline).__module__)
        modules["scheduler"] = importlib.import_module(type(pipeline.scheduler).__module__)
        with torch.no_grad(), given(numbers, modules) as remaining:
            latents = pipeline(**arguments, output_type="latent").images
            outputs = dict(output=latents)
            if sampler in ("ddim", "euler") and task == "text-to-image":
                scaled = latents / pipeline.vae.config.scaling_factor
                outputs["image"] = pipeline.vae.decode(scaled).sample
        assert not any(remaining[role] for role in ("pipeline", "vae")), f"{name}: not all numbers were drawn"
        if "noises" in inputs:
            inputs["noises"] = inputs["noises"][: len(inputs["noises"]) - len(remaining["scheduler"])]
        config = json.loads(pipeline.scheduler.to_json_string()) | dict(_class_name=SAMPLERS[sampler][0])
        common = dict(sampler=sampler, scheduler=config, steps=steps, width=width, height=height)
        common["timesteps"] = pipeline.scheduler.timesteps[-pipeline.num_timesteps :].tolist()
        self.write(name, model, "pipeline", task, inputs, outputs, **common, **settings)

    def picture(self):
        """A picture with 8 bits a channel, in [-1, 1]."""
        levels = torch.randint(0, 256, (1, 3, 16, 16), generator=self.generator)
        return levels / 255 * 2 - 1

    def mask(self):
        """Grey levels around the threshold 0.5 among them; 1 is painted anew."""
        mask = torch.zeros(1, 1, 16, 16)
        mask[..., 3:12, 5:16] = 1
        mask[..., 8, :] = 127 / 255
        mask[..., 9, :] = 128 / 255
        return mask

    def text_to_image(self):
        for sampler in SAMPLERS:
            inputs = dict(latents=self.normal(1, 4, 8, 8))
            steps = 20
            if sampler in ("ddpm", "euler-a", "dpm++2m-sde", "dpm++3m-sde", "lcm"):
                steps = 10
                inputs["noises"] = self.normal(steps, 1, 4, 8, 8)
            self.generate(f"sd1-{sampler}", "sd1", "text-to-image", sampler, inputs, steps=steps)
        run = lambda name, model, sampler, side=(8, 8), **settings: self.generate(
            name, model, "text-to-image", sampler, dict(latents=self.normal(1, 4, *side)), **settings
        )
        run("sd1-dpm++2m-karras", "sd1", "dpm++2m", scheduler=dict(use_karras_sigmas=True))
        run("sd1-no-negative", "sd1", "ddim", negative_prompt=None)
        run("sd1-no-guidance", "sd1", "ddim", guidance_scale=1.0)
        run("sd1-clip-skip", "sd1", "ddim", clip_skip=1)
        run("sd2-ddim", "sd2", "ddim", scheduler=V_PREDICTION)
        run("sd2-euler", "sd2", "euler", scheduler=V_PREDICTION)
        run("sd2-rescaled", "sd2", "ddim", scheduler=ZERO_SNR, guidance_rescale=0.7)
        run("sdxl-euler", "sdxl", "euler", side=(8, 12))
        run("sdxl-dpm++2m", "sdxl", "dpm++2m")
        run("sdxl-no-negative", "sdxl", "euler", negative_prompt=None)
        run("sdxl-empty-negative", "sdxl", "euler", negative_prompt="")
        run("sdxl-clip-skip", "sdxl", "euler", clip_skip=1)
        sizes = dict(original_size=(40, 24), crops_coords_top_left=(3, 5), target_size=(20, 12))
        run("sdxl-sizes", "sdxl", "euler", prompt_2="a green dog", negative_prompt_2="a boat", **sizes)

    def from_image(self):
        noise = lambda *names: {name: self.normal(1, 4, 8, 8) for name in names}
        for sampler in ("ddim", "pndm", "euler", "heun", "dpm2", "dpm++2m", "unipc", "lms"):
            inputs = dict(image=self.picture(), **noise("noise", "posterior_noise"))
            kind = "StableDiffusionImg2ImgPipeline"
            self.generate(f"sd1-img2img-{sampler}", "sd1", "image-to-image", sampler, inputs, kind=kind, strength=0.6)
        inputs = dict(image=self.picture(), **noise("noise", "posterior_noise"))
        kind = "StableDiffusionXLImg2ImgPipeline"
        self.generate("sdxl-img2img-euler", "sdxl", "image-to-image", "euler", inputs, kind=kind, strength=0.6)
        kind = "StableDiffusionInpaintPipeline"
        for model, sampler, strength in INPAINTING:
            draws = ["noise"]
            if model == "sd1" or strength < 1:
                draws.append("posterior_noise")
            inputs = dict(image=self.picture(), mask=self.mask(), **noise(*draws, "masked_posterior_noise"))
            name = f"inpaint-{9 if model == 'sd1-inpaint' else 4}-channels-{sampler}-{strength}"
            self.generate(name, model, "inpaint", sampler, inputs, kind=kind, strength=strength)
