"""Features of a small DINOv2 with random weights, exported as an ONNX file, on pictures made by a formula.

    python tools/oracle/onnx_features.py crates/calotype/tests/golden

Writes `dinov2.onnx`, `dinov2.toml` and `dinov2.json` with what onnxruntime gives after Pillow's preprocessing.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from PIL import Image
from transformers import Dinov2Config, Dinov2Model

from inception import picture

SIZES = [(40, 56), (61, 33), (32, 32)]  # height, width
SIDE, SHORTEST_EDGE = 28, 32
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


class LastHiddenState(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, pixel_values):
        return self.model(pixel_values).last_hidden_state


def export(file):
    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=SIDE, patch_size=14
    )
    model = Dinov2Model(config).eval()
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.3)
    example = torch.zeros(1, 3, SIDE, SIDE)
    torch.onnx.export(LastHiddenState(model), (example,), str(file), dynamo=True, external_data=False)
    exported = onnx.load(file)
    strip(exported)
    onnx.save(exported, file)


def strip(exported):
    """Without the exporter's notes, which hold stack traces and paths of the machine."""
    for node in exported.graph.node:
        node.ClearField("doc_string")
        del node.metadata_props[:]
    del exported.metadata_props[:]
    del exported.graph.metadata_props[:]
    del exported.graph.value_info[:]
    for value in [*exported.graph.input, *exported.graph.output]:
        del value.metadata_props[:]


def preprocess(pixels):
    image = Image.fromarray(pixels)
    scale = min(image.size)
    image = image.resize([SHORTEST_EDGE * side // scale for side in image.size], Image.BICUBIC)
    left, top = ((side - SIDE) // 2 for side in image.size)
    values = np.asarray(image.crop((left, top, left + SIDE, top + SIDE))) / 255
    return ((values - MEAN) / STD).transpose(2, 0, 1)[None].astype(np.float32)


def main(folder):
    export(folder / "dinov2.onnx")
    (folder / "dinov2.toml").write_text(
        f'size = {SIDE}\nshortest_edge = {SHORTEST_EDGE}\nresize = "pil-bicubic"\nmean = {MEAN}\nstd = {STD}\n'
    )
    session = onnxruntime.InferenceSession(str(folder / "dinov2.onnx"))
    cases = []
    for p, (height, width) in enumerate(SIZES):
        (tokens,) = session.run(None, {session.get_inputs()[0].name: preprocess(picture(p, height, width))})
        first, mean = tokens[0, 0].tolist(), tokens[0].mean(0).tolist()
        cases.append(dict(height=height, width=width, first=first, mean=mean))
    versions = {name: version(name) for name in ["torch", "transformers", "onnx", "onnxruntime", "pillow"]}
    with open(folder / "dinov2.json", "w") as file:
        json.dump(dict(versions=versions, cases=cases), file)
        file.write("\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
