"""torch-fidelity's Inception with weights made by a formula: `inception.json`, and whole comparisons of two folders.

    python tools/oracle/inception.py golden crates/calotype/tests/golden/inception.json
    python tools/oracle/inception.py compare GENERATED REFERENCE WEIGHTS.pth [SUBSET_SIZE]

The second writes the same weights as WEIGHTS.pth and WEIGHTS.safetensors and prints what torch-fidelity measures.
"""

import json
import sys
import tempfile
import time

import numpy as np
import torch
import torch_fidelity
from PIL import Image, __version__ as pillow_version
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

NAMES = ["64", "192", "768", "2048", "logits_unbiased", "logits"]
SIZES = [(64, 64), (299, 299), (120, 200), (320, 512)]  # height, width


def splitmix(name, n):
    """n numbers in [0, 1) from SplitMix64, seeded with the FNV-1a hash of a name."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    z = np.uint64(seed) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53


def tensor(name, shape):
    u = splitmix(name, int(np.prod(shape)))
    if name.endswith("conv.weight"):
        values = (2 * u - 1) * np.sqrt(6 / np.prod(shape[1:]))
    elif name == "fc.weight":
        values = (2 * u - 1) * 2 * np.sqrt(3 / 2048)
    elif name.endswith(("bn.weight", "running_var")):
        values = 0.8 + 0.4 * u
    else:
        values = 0.2 * (2 * u - 1)
    return torch.tensor(values.reshape(shape).astype(np.float32))


def weights(path):
    """The state dict by formula, saved where torch-fidelity takes it from."""
    real = torch.load
    # The constructor wants a file before it says which tensors it has.
    torch.load = lambda *_, **__: None
    load = FeatureExtractorInceptionV3.load_state_dict
    FeatureExtractorInceptionV3.load_state_dict = lambda *_, **__: None
    try:
        empty = FeatureExtractorInceptionV3("inception-v3-compat", NAMES, feature_extractor_weights_path=path)
    finally:
        torch.load, FeatureExtractorInceptionV3.load_state_dict = real, load
    state = {
        name: tensor(name, tuple(value.shape)) if value.is_floating_point() else value
        for name, value in empty.state_dict().items()
    }
    torch.save(state, path)
    return state


def picture(p, height, width):
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    return np.floor(127.5 + 127 * np.sin((0.05 + 0.01 * p) * x * (c + 1) + 0.07 * y + p)).astype(np.uint8)


def numbers(row):
    row = row.double().flatten()
    return dict(first=row[:16].tolist(), sum=row.sum().item(), sum_of_squares=(row * row).sum().item())


def forward_floats(network, x):
    """Features '2048' of pictures of 299 x 299 in 0..255, without the network's own resizing."""
    layers = [
        network.Conv2d_1a_3x3, network.Conv2d_2a_3x3, network.Conv2d_2b_3x3, network.MaxPool_1,
        network.Conv2d_3b_1x1, network.Conv2d_4a_3x3, network.MaxPool_2, network.Mixed_5b, network.Mixed_5c,
        network.Mixed_5d, network.Mixed_6a, network.Mixed_6b, network.Mixed_6c, network.Mixed_6d, network.Mixed_6e,
        network.Mixed_7a, network.Mixed_7b, network.Mixed_7c, network.AvgPool,
    ]
    x = (x - 128) / 128
    for layer in layers:
        x = layer(x)
    return x.flatten(1)


@torch.no_grad()
def golden(out):
    with tempfile.NamedTemporaryFile(suffix=".pth") as file:
        weights(file.name)
        network = FeatureExtractorInceptionV3("inception-v3-compat", NAMES, feature_extractor_weights_path=file.name)
    network.eval()
    cases = []
    for p, (height, width) in enumerate(SIZES):
        pixels = picture(p, height, width)
        x = torch.tensor(pixels).permute(2, 0, 1).unsqueeze(0)
        features = dict(zip(NAMES, map(numbers, network(x))))
        torch_resized = torch.nn.functional.interpolate(x.float() / 255, size=(299, 299), mode="bilinear", align_corners=False)
        channels = [Image.fromarray(pixels[:, :, c].astype(np.float32), mode="F") for c in range(3)]
        clean = np.stack([np.asarray(channel.resize((299, 299), Image.BICUBIC)) for channel in channels])
        clean = torch.tensor(clean).clip(0, 255).unsqueeze(0)
        cases.append(
            dict(
                height=height,
                width=width,
                tf_fid=features,
                pytorch_fid=numbers(forward_floats(network, (2 * torch_resized - 1) * 128 + 128)),
                clean=numbers(forward_floats(network, clean)),
            )
        )
    versions = dict(torch=torch.__version__, torch_fidelity=torch_fidelity.__version__, pillow=pillow_version)
    with open(out, "w") as file:
        json.dump(dict(versions=versions, cases=cases), file)


def compare(generated, reference, path, subset_size=100):
    from safetensors.torch import save_file

    state = weights(path)
    floats = {name: value for name, value in state.items() if value.is_floating_point()}
    save_file(floats, path.replace(".pth", ".safetensors"), metadata={"format": "pt"})
    torch.set_num_threads(2)
    begin = time.time()
    metrics = torch_fidelity.calculate_metrics(
        input1=generated, input2=reference, cuda=False, isc=True, fid=True, kid=True, verbose=False,
        cache=False, feature_extractor_weights_path=path, kid_subset_size=int(subset_size), save_cpu_ram=True,
    )
    print(json.dumps({name: float(value) for name, value in metrics.items()} | dict(seconds=time.time() - begin)))


if __name__ == "__main__":
    dict(golden=golden, compare=compare)[sys.argv[1]](*sys.argv[2:])
