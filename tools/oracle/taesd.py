"""PSNR of pictures after a round trip through TAEF2, the TAESD of FLUX.2, in PyTorch.

    python tools/oracle/taesd.py FOLDER PICTURE...

FOLDER holds `taef2_encoder.pth` and `taef2_decoder.pth` (github.com/madebyollin/taesd, MIT). The network is that of
its README: blocks of three convolutions, with a group norm of four groups beside the coarsest ones.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

WIDTH = 64


def conv(inputs, outputs, **options):
    return nn.Conv2d(inputs, outputs, 3, padding=1, **options)


class Clamp(nn.Module):
    def forward(self, x):
        return torch.tanh(x / 3) * 3


class Block(nn.Module):
    def __init__(self, with_norm=False):
        super().__init__()
        layers = [conv(WIDTH, WIDTH), nn.ReLU(), conv(WIDTH, WIDTH), nn.ReLU(), conv(WIDTH, WIDTH)]
        self.conv = nn.Sequential(*layers)
        if with_norm:
            wide = nn.Conv2d(WIDTH, 4 * WIDTH, 1, bias=False)
            narrow = nn.Conv2d(4 * WIDTH, WIDTH, 1, bias=False)
            self.pool = nn.Sequential(wide, nn.GroupNorm(4, 4 * WIDTH), nn.ReLU(), narrow)
        self.with_norm = with_norm

    def forward(self, x):
        if self.with_norm:
            x = x + self.pool(x)
        return torch.relu(self.conv(x) + x)


def down():
    return conv(WIDTH, WIDTH, stride=2, bias=False)


def up():
    return [nn.Upsample(scale_factor=2), conv(WIDTH, WIDTH, bias=False)]


def three(with_norm=False):
    return [Block(with_norm) for _ in range(3)]


def main():
    folder = Path(sys.argv[1])
    encoder = nn.Sequential(
        conv(3, WIDTH), Block(), down(), *three(), down(), *three(), down(), *three(True), conv(WIDTH, 32)
    )
    decoder = nn.Sequential(
        Clamp(), conv(32, WIDTH), nn.ReLU(), *three(True), *up(), *three(), *up(), *three(), *up(), Block(),
        conv(WIDTH, 3),
    )
    for network, name in (encoder, "encoder"), (decoder, "decoder"):
        network.load_state_dict(torch.load(folder / f"taef2_{name}.pth", weights_only=True))
    for path in sys.argv[2:]:
        pixels = np.asarray(Image.open(path).convert("RGB"))
        x = torch.tensor(pixels).permute(2, 0, 1)[None].float() / 255
        with torch.no_grad():
            y = (decoder(encoder(x)).clamp(0, 1) * 255).round() / 255
        print(path, "PSNR", -10 * torch.log10(((y - x) ** 2).mean()).item())


if __name__ == "__main__":
    main()
