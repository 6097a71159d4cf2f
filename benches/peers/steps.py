"""One step of a network: Calotype beside PyTorch with diffusers, alternating, medians.

    python benches/peers/steps.py target/release/calotype --config CONFIG.json --batch B --size S --mode train|forward|decode
                                  [--context-tokens L] [--dtype f32|bf16] [--rounds R] [--modes eager,channels_last,compile,stored]

A config of a CLIPModel is transformers', with its own contrastive loss; `decode` is an AutoencoderKL's decoder alone.
Needs what tools/oracle/requirements.txt installs. Every measurement is a process of its own, so that each has its own
peak memory; a round runs all of them once. PyTorch's training step is forward, MSE (of CLIP InfoNCE), backward and
fused AdamW; ours also clips the gradients and averages the weights.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time

THREADS = 2
BUDGET = 10.0  # seconds of measured steps, as `calotype bench` has it


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--config", required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--mode", choices=["train", "forward", "decode"], required=True)
    parser.add_argument("--context-tokens", type=int)
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--modes", default="eager,channels_last,compile")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    return parser.parse_args()


def clip(args, config, layout):
    """Both towers, their forward pass and their loss, on random pairs."""
    import torch
    import transformers

    net = transformers.CLIPModel(transformers.CLIPConfig.from_dict(config)).to(memory_format=layout)
    run = torch.compile(net) if "compile" in args.peer else net
    text, vision = net.config.text_config, net.config.vision_config
    x = torch.randn(args.batch, vision.num_channels, args.size, args.size).contiguous(memory_format=layout)
    tokens = args.context_tokens or text.max_position_embeddings
    ids = torch.randint(0, text.eos_token_id, (args.batch, tokens))
    ids[:, -1] = text.eos_token_id
    forward = lambda: run(input_ids=ids, pixel_values=x).logits_per_image
    return net, forward, lambda: run(input_ids=ids, pixel_values=x, return_loss=True).loss


def flux(args, config, net, run, t):
    """A Flux transformer on the tokens of random latents."""
    import torch
    import torch.nn.functional as F

    rows = args.size // 2
    tokens, length = rows * rows, args.context_tokens or 77
    x = torch.randn(args.batch, tokens, config["in_channels"])
    rows, columns = torch.meshgrid(torch.arange(rows), torch.arange(rows), indexing="ij")
    places = torch.stack([torch.zeros_like(rows), rows, columns], -1).reshape(tokens, 3).float()
    told = {
        "encoder_hidden_states": torch.randn(args.batch, length, config["joint_attention_dim"]),
        "pooled_projections": torch.randn(args.batch, config["pooled_projection_dim"]),
        "guidance": torch.full([args.batch], 3.5) if config.get("guidance_embeds") else None,
        "img_ids": places,
        "txt_ids": torch.zeros(length, 3),
    }
    velocity = torch.randn_like(x)
    forward = lambda: run(hidden_states=x, timestep=t, **told).sample
    return net, forward, lambda: F.mse_loss(forward().float(), velocity)


def network(args, config):
    """The network and its loss and forward pass, on random inputs."""
    import torch

    layout = torch.channels_last if "channels_last" in args.peer else torch.contiguous_format
    if config.get("model_type") == "clip":
        return clip(args, config, layout)
    import diffusers
    import torch.nn.functional as F

    net = getattr(diffusers, config["_class_name"]).from_config(config).to(memory_format=layout)
    run = torch.compile(net) if "compile" in args.peer else net
    channels, side = net.config.in_channels, args.size
    x = torch.randn(args.batch, channels, side, side).contiguous(memory_format=layout)
    if config["_class_name"] == "AutoencoderKL":
        encode = torch.compile(net.encode) if "compile" in args.peer else net.encode
        decode = torch.compile(net.decode) if "compile" in args.peer else net.decode

        def loss():
            posterior = encode(x).latent_dist
            return F.mse_loss(decode(posterior.sample()).sample.float(), x) + 1e-6 * posterior.kl().mean()

        if args.mode == "decode":
            f = 2 ** (len(net.config.block_out_channels) - 1)
            z = torch.randn(args.batch, net.config.latent_channels, side // f, side // f).contiguous(memory_format=layout)
            return net, lambda: decode(z).sample, loss
        return net, lambda: decode(encode(x).latent_dist.mean).sample, loss
    t = torch.arange(args.batch) * 37 % 1000
    if config["_class_name"] == "FluxTransformer2DModel":
        return flux(args, config, net, run, t / 1000)
    context = torch.randn(args.batch, args.context_tokens or 77, config["cross_attention_dim"])
    eps = torch.randn(args.batch, config.get("out_channels", 4), side, side)
    forward = lambda: run(x, t, context).sample
    return net, forward, lambda: F.mse_loss(forward().float(), eps)


def peer(args):
    """Times one mode of PyTorch and prints one JSON object."""
    import torch

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    with open(args.config) as file:
        config = json.load(file)
    bf16, stored = args.dtype == "bf16", "stored" in args.peer
    if stored:
        # Weights and inputs in bf16, as diffusers' torch_dtype has them, and not as autocast rounds them each time.
        torch.set_default_dtype(torch.bfloat16)
    net, forward, loss = network(args, config)
    if args.mode == "train":
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=True)

        def step():
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                value = loss()
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
    else:
        net.eval().requires_grad_(False)

        def step():
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16 and not stored):
                forward()

    for _ in range(1 if args.steps else 3):
        step()
    times, begin = [], time.perf_counter()
    while len(times) < (args.steps or 5) or (not args.steps and time.perf_counter() - begin < BUDGET):
        start = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - start))
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"median_ms": statistics.median(times), "peak_rss_mib": rss}))


def measured(command):
    # A setting for old OpenBLAS builds; it has no say in either program, and should have none.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS")}
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment)
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


def main():
    args = arguments()
    if args.peer:
        return peer(args)
    what = ["--config", args.config, "--batch", str(args.batch), "--size", str(args.size), "--mode", args.mode]
    what += ["--dtype", args.dtype]
    what += ["--context-tokens", str(args.context_tokens)] if args.context_tokens else []
    what += ["--steps", str(args.steps)] if args.steps else []
    commands = {"calotype": [args.binary, "bench", *what, "--threads", str(THREADS), "--json"]}
    for mode in args.modes.split(","):
        commands[f"torch {mode}"] = [sys.executable, __file__, args.binary, *what, "--peer", mode]
    found = {name: [] for name in commands}
    for _ in range(args.rounds):
        for name, command in commands.items():
            found[name].append(measured(command))
    medians = {}
    for name, rounds in found.items():
        if None in rounds:
            print(f"{name:24} failed")
            continue
        times = [one["median_ms"] for one in rounds]
        memory = statistics.median(one["peak_rss_mib"] for one in rounds)
        medians[name] = statistics.median(times), memory
        print(f"{name:24} {medians[name][0]:9.1f} ms  ({min(times):.1f} to {max(times):.1f})  {memory:6.0f} MiB")
    ours = medians.pop("calotype")
    best = min(medians, key=lambda name: medians[name][0])
    print(f"time {ours[0] / medians[best][0]:.3f}, memory {ours[1] / medians[best][1]:.3f} of {best}, the fastest peer")


if __name__ == "__main__":
    main()
