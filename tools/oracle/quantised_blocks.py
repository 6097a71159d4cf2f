"""Are the blocks that we quantise those of ggml, bit for bit?

    python tools/oracle/quantised_blocks.py FILE --ggml LIBRARY
    python tools/oracle/quantised_blocks.py --check MODEL.gguf ORIGINAL.safetensors [--ggml LIBRARY]

The first writes the golden file: numbers of several kinds, and their blocks. Q4_0 and Q8_0 are gguf's own; Q4_K, Q5_K
and Q6_K, which gguf only reads, come from `quantize_row_q4_K_ref` and its like in a shared library of ggml (its
`ggml-quants.c`, compiled without contracted products: `-ffp-contract=off`).

The second compares every tensor of a GGUF file that `calotype convert` wrote with its original under the same names:
whether the bytes are those of gguf (and with a library, of ggml), and how far the numbers are from the original. One
JSON object for each type; exits with 1 if bytes differ.
"""

import argparse
import base64
import ctypes
import json
import os

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGUFReader, quants
from safetensors import safe_open

GGUF_QUANTISES = (Type.Q4_0, Type.Q8_0)
TYPES = (Type.Q4_0, Type.Q8_0, Type.Q4_K, Type.Q5_K, Type.Q6_K)


def by_ggml(library, kind, values):
    """Blocks by ggml's reference."""
    numbers, size = gguf.GGML_QUANT_SIZES[kind]
    values = np.ascontiguousarray(values, dtype=np.float32)
    blocks = np.zeros(values.size // numbers * size, dtype=np.uint8)
    quantise = getattr(library, f"quantize_row_{kind.name.replace('Q', 'q', 1)}_ref")
    quantise.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    quantise(values.ctypes.data, blocks.ctypes.data, values.size)
    return blocks


def quantised(library, kind, values):
    """Blocks by gguf, or else by ggml; `None` without a library."""
    if kind in GGUF_QUANTISES:
        blocks = quants.quantize(values, kind).reshape(-1)
        assert library is None or (blocks == by_ggml(library, kind, values)).all(), kind.name
        return blocks
    return None if library is None else by_ggml(library, kind, values)


def numbers():
    """Eight times 256 numbers: as weights are, with outliers, one sign, zeros, equal ones, tiny and large ones."""
    random = np.random.default_rng(5)
    normal = lambda scale: random.normal(0, scale, 256)
    outliers = normal(0.02)
    outliers[::37] *= 40
    mixed = np.concatenate([np.zeros(32), np.full(32, -0.25), np.full(32, 0.5), normal(1)[:160]])
    mixed[100:132] *= 1e-6
    scales = np.repeat(10.0 ** np.arange(-7, 1), 32) * normal(1)
    rows = [normal(0.02), normal(1), outliers, np.abs(normal(0.3)), -np.abs(normal(0.3)), mixed, scales, normal(900)]
    return np.concatenate(rows).astype(np.float32)


def write(path, library):
    text = lambda array: base64.b64encode(array.tobytes()).decode()
    values = numbers()
    blocks = {kind.name: text(quantised(library, kind, values)) for kind in TYPES}
    with open(path, "w") as file:
        json.dump(dict(values=text(values), blocks=blocks), file, indent=1)
        file.write("\n")


def check(model, original, library):
    found = {}
    with safe_open(original, framework="pt") as file:
        for tensor in GGUFReader(model).tensors:
            exact = file.get_tensor(tensor.name).float().numpy()
            kind = tensor.tensor_type
            got = quants.dequantize(tensor.data, kind).reshape(exact.shape)
            of_kind = found.setdefault(kind.name, dict(tensors=0, numbers=0, error=0.0, square=0.0, largest=0.0))
            of_kind["tensors"] += 1
            of_kind["numbers"] += exact.size
            of_kind["error"] += float(((got - exact).astype(np.float64) ** 2).sum())
            of_kind["square"] += float((exact.astype(np.float64) ** 2).sum())
            of_kind["largest"] = max(of_kind["largest"], float(np.abs(got - exact).max() / np.abs(exact).max()))
            expected = quantised(library, kind, exact) if kind in TYPES else None
            if expected is not None:
                same = bool((tensor.data.reshape(-1).view(np.uint8) == expected).all())
                of_kind["same_bytes"] = of_kind.get("same_bytes", True) and same
    for kind, values in found.items():
        error, square = values.pop("error"), values.pop("square")
        print(json.dumps(dict(type=kind, relative_rmse=(error / square) ** 0.5, **values)))
    return all(values.get("same_bytes", True) for values in found.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?")
    parser.add_argument("--check", nargs=2, metavar=("GGUF", "SAFETENSORS"))
    parser.add_argument("--ggml", metavar="LIBRARY")
    arguments = parser.parse_args()
    library = ctypes.CDLL(arguments.ggml, mode=os.RTLD_LAZY) if arguments.ggml else None
    if arguments.check:
        raise SystemExit(0 if check(*arguments.check, library) else 1)
    if not (arguments.file and library):
        parser.error("FILE and --ggml, or --check")
    write(arguments.file, library)


main()
