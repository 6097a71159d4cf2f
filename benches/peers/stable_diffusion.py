"""Times whole runs of Stable Diffusion: this program and diffusers, one after the other, in turn.

    python benches/peers/stable_diffusion.py BINARY MODEL [--steps 4] [--rounds 3] [--size 512] [--bf16-model DIR]

MODEL is a folder in diffusers' layout. Every run is a process of its own, so that its peak memory is its own.
Prints one JSON object: for each contestant the medians of the seconds for loading, for a step (guidance on: two
passes of the U-Net) and for decoding, and the peak of its resident memory in MiB.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

PROMPT = "a photograph of an astronaut riding a horse"


def ours(args, dtype):
    model = args.bf16_model if dtype == "bf16" and args.bf16_model else args.model
    with tempfile.TemporaryDirectory() as folder:
        command = [args.binary, "generate", PROMPT, "--model", model, "--dtype", dtype, "--sampler", "ddim",
                   "--steps", str(args.steps), "--guidance", "7.5", "--width", str(args.size), "--height",
                   str(args.size), "--out", os.path.join(folder, "x.png"), "--json"]
        with open(os.path.join(folder, "out"), "w+") as out:
            child = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL)
            _, status, usage = os.wait4(child.pid, 0)
            if status:
                raise SystemExit(f"{command} failed")
            out.seek(0)
            seconds = json.load(out)["seconds"]
    return {"load": seconds["load"], "step": seconds["sample"] / args.steps, "decode": seconds["decode"],
            "mib": usage.ru_maxrss / 1024}


def diffusers(args, dtype):
    model = args.bf16_model if dtype == "bf16" and args.bf16_model else args.model
    command = [sys.executable, __file__, "--child", dtype, args.binary, model, "--steps", str(args.steps),
               "--size", str(args.size)]
    output = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
    return json.loads(output.splitlines()[-1])


def child(args):
    import torch
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    start = time.perf_counter()
    dtype = torch.bfloat16 if args.child == "bf16" else torch.float32
    pipe = StableDiffusionPipeline.from_pretrained(args.model, torch_dtype=dtype, safety_checker=None)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    loaded = time.perf_counter()
    latents = pipe(PROMPT, num_inference_steps=args.steps, guidance_scale=7.5, width=args.size, height=args.size,
                   output_type="latent").images
    sampled = time.perf_counter()
    with torch.no_grad():
        pipe.vae.decode(latents / pipe.vae.config.scaling_factor)
    decoded = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"load": loaded - start, "step": (sampled - loaded) / args.steps, "decode": decoded - sampled,
                      "mib": peak}))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary")
    parser.add_argument("model")
    parser.add_argument("--bf16-model")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--child")
    args = parser.parse_args()
    if args.child:
        return child(args)
    runs = {}
    for _ in range(args.rounds):
        for dtype in ("f32", "bf16"):
            for name, run in (("calotype", ours), ("diffusers", diffusers)):
                runs.setdefault(f"{name} {dtype}", []).append(run(args, dtype))
                print(name, dtype, runs[f"{name} {dtype}"][-1], file=sys.stderr)
    median = {name: {key: round(statistics.median(run[key] for run in of), 3) for key in of[0]}
              for name, of in runs.items()}
    print(json.dumps(median, indent=1))


if __name__ == "__main__":
    main()
