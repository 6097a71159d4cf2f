"""Does a model folder that Calotype wrote mean the same in Python as in Calotype?

    check_model_folder.py MODEL_DIR CALOTYPE_BINARY [--tolerance 1e-4]

Loads the folder with diffusers and transformers, refuses missing, unexpected or reshaped tensors, feeds
seeded random inputs to every network here and through `calotype probe`, compares tokenisation, and runs
the whole pipeline for two steps. One line per check; exit status 1 if any fails.

The error of a tensor is max|calotype - python| / max|python|.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer

SEED = 1841
PROBE_TIMEOUT_S = 900

# Upper and lower case, runs of blanks, tabs, contractions, digits, punctuation, accents, other scripts,
# symbols outside the basic plane, a special token inside the text, and the unconditional prompt.
PROMPTS = [
    "a cat",
    "a red car on the left of a tree",
    "A CAT, and TWO dogs!",
    "  two   cats\tbelow  a house ",
    "it's the dog's ball; don't they're we'll I'd",
    "42 cats in 1841",
    "3.14-inch (half-open) box #7 @home...",
    "",
    "café naïve Zürich Ωmega",
    "猫とネコ",
    "a 🐈 and a ☕",
    "unbelievablyantidisestablishmentarian",
    "a cat <|endoftext|> a dog",
]


class Failure(Exception):
    """A check that did not pass; the text is the reason on its line."""


def load(component, folder):
    """The model, with every tensor of the file used once and none left to its random start."""
    model, info = component.from_pretrained(folder, output_loading_info=True, local_files_only=True)
    complaints = {name.replace("_", " "): found for name, found in info.items() if found}
    if complaints:
        raise Failure("; ".join(f"{name}: {sorted(map(str, found))[:4]}" for name, found in complaints.items()))
    for weights in sorted(folder.glob("*.safetensors")):
        with safe_open(weights, "pt") as file:
            if (file.metadata() or {}).get("format") != "pt":
                raise Failure(f'{weights.name} lacks `__metadata__ {{"format": "pt"}}`')
    return model.float().eval()


class Checker:
    def __init__(self, model_dir, binary, tolerance):
        self.model_dir, self.binary, self.tolerance = model_dir, binary, tolerance
        self.generator = torch.Generator().manual_seed(SEED)

    # -- calotype ----------------------------------------------------------------------------------

    def probe_files(self, component, inputs, output):
        command = [self.binary, "probe", "--model", self.model_dir, "--component", component]
        command += ["--inputs", inputs, "--output", output]
        done = subprocess.run(
            [str(part) for part in command], capture_output=True, text=True, timeout=PROBE_TIMEOUT_S
        )
        if done.returncode != 0:
            reason = done.stderr.strip().replace("\n", " | ") or "no message"
            raise Failure(f"calotype probe exited with {done.returncode}: {reason}")

    def probe(self, component, inputs):
        with tempfile.TemporaryDirectory() as folder:
            given, returned = Path(folder, "inputs.safetensors"), Path(folder, "output.safetensors")
            save_file({name: value.contiguous() for name, value in inputs.items()}, given)
            self.probe_files(component, given, returned)
            return load_file(returned)

    # -- comparison --------------------------------------------------------------------------------

    def compare(self, component, cases, forward):
        """The largest error over all cases and all outputs that `forward` names."""
        worst = 0.0
        for inputs in cases:
            ours = self.probe(component, inputs)
            with torch.no_grad():
                theirs = forward(**inputs)
            for name, expected in theirs.items():
                if name not in ours:
                    raise Failure(f"calotype returned no `{name}`, only {sorted(ours)}")
                found = ours[name].float()
                if found.shape != expected.shape:
                    raise Failure(f"`{name}`: expected {list(expected.shape)}, got {list(found.shape)}")
                if not (found.isfinite().all() and expected.isfinite().all()):
                    raise Failure(f"`{name}` is not finite")
                error = ((found - expected).abs().max() / expected.abs().max()).item()
                if not error <= self.tolerance:  # also catches 0 / 0
                    raise Failure(f"`{name}`: max relative error {error:.2e} > {self.tolerance:.0e}")
                worst = max(worst, error)
        return f"max relative error {worst:.2e}"

    def normal(self, *shape):
        return torch.randn(shape, generator=self.generator)

    def uniform(self, *shape):
        return torch.rand(shape, generator=self.generator) * 2 - 1

    # -- components --------------------------------------------------------------------------------

    def unet(self):
        model = load(UNet2DConditionModel, self.model_dir / "unet")
        config = model.config
        side = config.sample_size if isinstance(config.sample_size, int) else config.sample_size[0]
        side, channels, width = min(side, 32), config.in_channels, config.cross_attention_dim
        cases = [
            {  # one timestep per sample, the size it was trained on
                "sample": self.normal(2, channels, side, side),
                "timestep": torch.tensor([3, 871]),
                "encoder_hidden_states": self.normal(2, 7, width),
            },
            {  # one fractional timestep for all, sides that no power of 2 divides
                "sample": self.normal(2, channels, side + 1, side + 3),
                "timestep": torch.tensor([417.5]),
                "encoder_hidden_states": self.normal(2, 5, width),
            },
        ]
        return self.compare("unet", cases, lambda **inputs: {"output": model(**inputs).sample})

    def vae_sides(self, config):
        """Height and width of a small image; different, so that swapped axes show."""
        factor = 2 ** (len(config.block_out_channels) - 1)
        side = config.sample_size if isinstance(config.sample_size, int) else config.sample_size[0]
        height = max(min(side, 64) // factor, 2)
        return factor, height, height + 1

    def vae_encode(self):
        model = load(AutoencoderKL, self.model_dir / "vae")
        factor, height, width = self.vae_sides(model.config)
        case = {"sample": self.uniform(2, model.config.in_channels, height * factor, width * factor)}

        def forward(sample):
            posterior = model.encode(sample).latent_dist
            return {"mean": posterior.mean, "logvar": posterior.logvar}

        return self.compare("vae-encode", [case], forward)

    def vae_decode(self):
        model = load(AutoencoderKL, self.model_dir / "vae")
        _, height, width = self.vae_sides(model.config)
        case = {"sample": self.normal(2, model.config.latent_channels, height, width)}
        return self.compare("vae-decode", [case], lambda sample: {"output": model.decode(sample).sample})

    def token_ids(self, config, rows):
        """Random captions of different lengths, padded as the pipeline pads them."""
        tokenizer = self.python_tokenizer()
        start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
        ids = torch.full((rows, config.max_position_embeddings), tokenizer.pad_token_id)
        words = torch.tensor([i for i in range(config.vocab_size) if i not in (start, end)])
        for row in range(rows):
            length = (row + 1) * (config.max_position_embeddings - 2) // rows
            ids[row, 0] = start
            picked = torch.randint(0, len(words), (length,), generator=self.generator)
            ids[row, 1 : 1 + length] = words[picked]
            ids[row, 1 + length] = end
        return ids

    def text_encoder(self):
        model = load(CLIPTextModel, self.model_dir / "text_encoder")
        case = {"input_ids": self.token_ids(model.config, 3)}

        def forward(input_ids):
            result = model(input_ids=input_ids)
            return {"output": result.last_hidden_state, "pooled_output": result.pooler_output}

        return self.compare("text-encoder", [case], forward)

    def clip(self):
        if not (self.model_dir / "clip").is_dir():
            return None
        model = load(CLIPModel, self.model_dir / "clip")
        vision = model.config.vision_config
        case = {
            "input_ids": self.token_ids(model.config.text_config, 3),
            "pixel_values": self.normal(2, vision.num_channels, vision.image_size, vision.image_size),
        }
        return self.compare("clip", [case], lambda **inputs: {"logits_per_image": model(**inputs).logits_per_image})

    # -- tokenizer and pipeline --------------------------------------------------------------------

    def python_tokenizer(self):
        return CLIPTokenizer.from_pretrained(self.model_dir / "tokenizer", local_files_only=True)

    def tokenizer(self):
        tokenizer = self.python_tokenizer()
        context = json.loads((self.model_dir / "text_encoder" / "config.json").read_text())
        limit = context["max_position_embeddings"]
        if tokenizer.model_max_length != limit:
            raise Failure(f"`model_max_length` is {tokenizer.model_max_length}, the text encoder takes {limit}")
        if len(tokenizer) != context["vocab_size"]:
            raise Failure(f"{len(tokenizer)} tokens, but the text encoder's `vocab_size` is {context['vocab_size']}")

        words = sorted(token[: -len("</w>")] for token in tokenizer.get_vocab() if token.endswith("</w>"))
        words = [word for word in words if word.isascii() and word.isalpha()]
        random.Random(SEED).shuffle(words)
        prompts = PROMPTS + [" ".join(words[i : i + 5]) for i in range(0, min(len(words), 500), 5)]
        # Truncation is the pipeline's business: compare what fits.
        expected = {prompt: tokenizer(prompt).input_ids for prompt in prompts}
        expected = {prompt: ids for prompt, ids in expected.items() if len(ids) <= limit}

        with tempfile.TemporaryDirectory() as folder:
            given, returned = Path(folder, "prompts.txt"), Path(folder, "ids.json")
            given.write_text("".join(f"{prompt}\n" for prompt in expected), encoding="utf-8")
            self.probe_files("tokenizer", given, returned)
            found = json.loads(returned.read_text())
        if len(found) != len(expected):
            raise Failure(f"{len(expected)} prompts given, {len(found)} lists of ids returned")
        for (prompt, ids), ours in zip(expected.items(), found):
            if ids != ours:
                raise Failure(f"{prompt!r}: expected {ids}, got {ours}")
        return f"{len(expected)} prompts equal, {len(prompts) - len(expected)} too long for {limit} tokens"

    def pipeline(self):
        pipe = StableDiffusionPipeline.from_pretrained(self.model_dir, safety_checker=None, local_files_only=True)
        pipe.set_progress_bar_config(disable=True)
        generator = torch.Generator().manual_seed(SEED)
        image = pipe("a cat", num_inference_steps=2, generator=generator, output_type="pt").images[0]
        if not image.isfinite().all():
            raise Failure("the image is not finite")
        if image.std() == 0:
            raise Failure("the image is one flat colour")
        height, width = image.shape[1:]
        return f"2 steps of {type(pipe.scheduler).__name__}, {width}x{height}"

    def run(self):
        checks = {
            "unet": self.unet,
            "vae-encode": self.vae_encode,
            "vae-decode": self.vae_decode,
            "text-encoder": self.text_encoder,
            "clip": self.clip,
            "tokenizer": self.tokenizer,
            "pipeline": self.pipeline,
        }
        failed = 0
        for name, check in checks.items():
            try:
                verdict, detail = "PASS", check()
            except Failure as failure:
                verdict, detail = "FAIL", str(failure)
            except Exception as error:  # whatever Python's loaders raise is this folder's failure
                text = str(error).strip().replace("\n", " | ")[:400]
                verdict, detail = "FAIL", f"{type(error).__name__}: {text}"
            if detail is None:
                verdict, detail = "SKIP", f"the folder has no {name}/"
            failed += verdict == "FAIL"
            print(f"{name:<13} {verdict}  {detail}", flush=True)
        return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("calotype", type=Path, help="the calotype binary")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="of max|a-b| / max|b| (default 1e-4)")
    arguments = parser.parse_args()
    if not (arguments.model_dir / "model_index.json").is_file():
        parser.error(f"{arguments.model_dir} holds no model_index.json")
    if not arguments.calotype.is_file():
        parser.error(f"{arguments.calotype} is not a file")
    transformers.utils.logging.disable_progress_bar()
    diffusers.utils.logging.disable_progress_bar()
    binary = arguments.calotype.resolve()
    failed = Checker(arguments.model_dir.resolve(), binary, arguments.tolerance).run()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
