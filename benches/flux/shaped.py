#!/usr/bin/env python3
"""Random weights in Flux.1's real shape as GGUF, and inputs of one forward pass: for time and memory, not for pictures.

    python3 shaped.py transformer OUT.gguf [--type q4_0|q8_0] [--double 19] [--single 38]
    python3 shaped.py t5 OUT.gguf [--type q4_0|q8_0] [--layers 24]
    python3 shaped.py inputs OUT.safetensors [--side 512] [--text 256]

Matrices of blocks are quantised, the rest is F32, as ComfyUI-GGUF has it. Numbers have a standard deviation of about
0.02. Python's standard library alone.
"""

import argparse
import json
import random
import struct

WIDTH, HEAD, TEXT, POOLED = 3072, 128, 4096, 768
ALIGNMENT = 32
# ggml's number, numbers of a block, its bytes after the factor, the factor.
TYPES = {"q4_0": (2, 32, 16, 0.0043), "q8_0": (8, 32, 32, 0.00027)}
CHUNK = 1 << 19  # blocks that are drawn; the file repeats them


def transformer(double, single):
    """(name, shape) under Black Forest Labs' names."""
    def linear(name, out, into):
        return [(f"{name}.weight", [out, into]), (f"{name}.bias", [out])]

    def embedder(name, into):
        return linear(f"{name}.in_layer", WIDTH, into) + linear(f"{name}.out_layer", WIDTH, WIDTH)

    def norms(name):
        return [(f"{name}.{which}_norm.scale", [HEAD]) for which in ("query", "key")]

    tensors = linear("img_in", WIDTH, 64) + linear("txt_in", WIDTH, TEXT)
    tensors += embedder("time_in", 256) + embedder("guidance_in", 256) + embedder("vector_in", POOLED)
    for i in range(double):
        for side in ("img", "txt"):
            block = f"double_blocks.{i}.{side}"
            tensors += linear(f"{block}_mod.lin", 6 * WIDTH, WIDTH) + linear(f"{block}_attn.qkv", 3 * WIDTH, WIDTH)
            tensors += norms(f"{block}_attn.norm") + linear(f"{block}_attn.proj", WIDTH, WIDTH)
            tensors += linear(f"{block}_mlp.0", 4 * WIDTH, WIDTH) + linear(f"{block}_mlp.2", WIDTH, 4 * WIDTH)
    for i in range(single):
        block = f"single_blocks.{i}"
        tensors += linear(f"{block}.modulation.lin", 3 * WIDTH, WIDTH) + linear(f"{block}.linear1", 7 * WIDTH, WIDTH)
        tensors += linear(f"{block}.linear2", WIDTH, 5 * WIDTH) + norms(f"{block}.norm")
    return tensors + linear("final_layer.linear", 64, WIDTH) + linear("final_layer.adaLN_modulation.1", 2 * WIDTH, WIDTH)


def t5(layers):
    """(name, shape) under llama.cpp's names."""
    inner, tensors = 10240, [("token_embd.weight", [32128, TEXT])]
    for i in range(layers):
        block = f"enc.blk.{i}"
        tensors += [(f"{block}.attn_{part}.weight", [TEXT, TEXT]) for part in "qkvo"]
        tensors += [(f"{block}.{part}_norm.weight", [TEXT]) for part in ("attn", "ffn")]
        tensors += [(f"{block}.ffn_{part}.weight", [inner, TEXT]) for part in ("gate", "up")]
        tensors += [(f"{block}.ffn_down.weight", [TEXT, inner])]
    tensors.append(("enc.blk.0.attn_rel_b.weight", [32, 64]))
    return tensors + [("enc.output_norm.weight", [TEXT])]


def text(value):
    return struct.pack("<Q", len(value)) + value.encode()


def is_quantised(name, shape):
    return len(shape) == 2 and name.startswith(("double_blocks", "single_blocks", "enc.blk", "token_embd")) and shape[1] % 32 == 0


def floats(shape, random):
    count = 1
    for size in shape:
        count *= size
    # Vectors of norms are about 1.
    mean = 1.0 if len(shape) == 1 and shape[0] in (HEAD, TEXT) else 0.0
    drawn = struct.pack("<4096f", *(random.gauss(mean, 0.02) for _ in range(4096)))
    return (drawn * (count // 4096 + 1))[: 4 * count]


def write(path, architecture, tensors, kind):
    number, per_block, rest, factor = TYPES[kind]
    draw = random.Random(0)
    header = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), 1) + text("general.architecture")
    header += struct.pack("<I", 8) + text(architecture)
    offset, sizes = 0, []
    for name, shape in tensors:
        count = 1
        for size in shape:
            count *= size
        quantised = is_quantised(name, shape)
        size = count // per_block * (2 + rest) if quantised else 4 * count
        header += text(name) + struct.pack("<I", len(shape))
        header += struct.pack(f"<{len(shape)}Q", *reversed(shape))
        header += struct.pack("<IQ", number if quantised else 0, offset)
        sizes.append(size)
        offset += -(-size // ALIGNMENT) * ALIGNMENT
    factors = [struct.pack("<e", factor * draw.uniform(0.5, 1.5)) for _ in range(256)]
    bits = draw.randbytes(CHUNK * rest)
    chunk = b"".join(factors[i % 251] + bits[i * rest : (i + 1) * rest] for i in range(CHUNK))
    with open(path, "wb") as file:
        file.write(header)
        file.write(bytes(-len(header) % ALIGNMENT))
        for (name, shape), size in zip(tensors, sizes):
            left = size
            if is_quantised(name, shape):
                while left > 0:
                    first = draw.randrange(CHUNK // 2) * (2 + rest)
                    left -= file.write(chunk[first : min(first + left, len(chunk))])
            else:
                file.write(floats(shape, draw))
            file.write(bytes(-size % ALIGNMENT))


def inputs(path, side, length):
    draw = random.Random(1)
    grid = side // 16
    places = [[0.0, float(row), float(column)] for row in range(grid) for column in range(grid)]
    tensors = {
        "hidden_states": ([1, grid * grid, 64], [draw.gauss(0, 1) for _ in range(grid * grid * 64)]),
        "encoder_hidden_states": ([1, length, TEXT], [draw.gauss(0, 0.2) for _ in range(length * TEXT)]),
        "pooled_projections": ([1, POOLED], [draw.gauss(0, 1) for _ in range(POOLED)]),
        "timestep": ([1], [0.5]),
        "guidance": ([1], [3.5]),
        "img_ids": ([grid * grid, 3], sum(places, [])),
        "txt_ids": ([length, 3], [0.0] * (3 * length)),
    }
    header, data = {}, b""
    for name, (shape, values) in tensors.items():
        packed = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(packed)]}
        data += packed
    header = json.dumps(header).encode()
    header += b" " * (-len(header) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header + data)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["transformer", "t5", "inputs"])
    parser.add_argument("out")
    parser.add_argument("--type", choices=TYPES, default="q4_0")
    parser.add_argument("--double", type=int, default=19)
    parser.add_argument("--single", type=int, default=38)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--text", type=int, default=256)
    args = parser.parse_args()
    if args.what == "transformer":
        write(args.out, "flux", transformer(args.double, args.single), args.type)
    elif args.what == "t5":
        write(args.out, "t5encoder", t5(args.layers), args.type)
    else:
        inputs(args.out, args.side, args.text)


if __name__ == "__main__":
    main()
