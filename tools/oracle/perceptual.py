"""LPIPS and MS-SSIM of the packages lpips and pytorch-msssim, on weights and pictures made by a formula.

    python tools/oracle/perceptual.py crates/calotype/tests/golden/perceptual.json
"""

import json
import sys
from importlib.metadata import version

import lpips
import numpy as np
import pytorch_msssim
import torch

from inception import picture, splitmix

SIZES = [(64, 64), (91, 77), (161, 176), (200, 163), (256, 320)]  # height, width


def tensor(name, shape):
    u = splitmix(name, int(np.prod(shape)))
    if name.startswith("lin"):
        values = u
    elif name.endswith("weight"):
        values = (2 * u - 1) * np.sqrt(6 / np.prod(shape[1:]))
    else:
        values = 0.2 * (2 * u - 1)
    return torch.tensor(values.reshape(shape).astype(np.float32))


def plain(name):
    """torchvision's name of a layer of the package's network."""
    parts = name.split(".")
    return ".".join(["features", *parts[2:]]) if parts[0] == "net" else name


def network(backbone):
    network = lpips.LPIPS(net=backbone, pretrained=False, pnet_rand=True, verbose=False)
    state = network.state_dict()
    for name, value in state.items():
        if name.startswith(("net.", "lin")) and not name.startswith("lins."):
            value.copy_(tensor(plain(name), tuple(value.shape)))
    return network.eval()


@torch.no_grad()
def main(out):
    networks = {name: network(name) for name in ["alex", "vgg"]}
    cases = []
    for p, (height, width) in enumerate(SIZES):
        levels = [picture(p + shift, height, width) for shift in (0, 0.2)]
        x, y = (torch.tensor(pixels).permute(2, 0, 1).unsqueeze(0).float() for pixels in levels)
        case = dict(height=height, width=width)
        for name, lpips_of in networks.items():
            case[name] = lpips_of(x / 127.5 - 1, y / 127.5 - 1).item()
        if min(height, width) > 160:
            case["ms_ssim"] = pytorch_msssim.ms_ssim(x.double(), y.double(), data_range=255).item()
        cases.append(case)
    versions = dict(torch=torch.__version__, lpips=version("lpips"), pytorch_msssim=version("pytorch-msssim"))
    with open(out, "w") as file:
        json.dump(dict(versions=versions, cases=cases), file, indent=1)


main(sys.argv[1])
