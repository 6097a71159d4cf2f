"""What LyCORIS' modules make of a layer's weight, for the merge in crates/calotype/src/checkpoint/lora.

    oracle/bin/python tools/oracle/lycoris_layers.py crates/calotype/tests/golden/lycoris.safetensors

Each case has the layer's own weight and bias (`CASE/base.weight`, `.bias`), the tensors that the module would save
(`CASE/file.hada_w1_a`, …), and the weight and bias of the layer after it (`CASE/merged.weight`, `.bias`). These are
read off the module's forward pass with unit inputs, one for each column of the weight: `get_diff_weight` of 4.1.3
applies alpha / rank twice, and is not asked. `__metadata__` has each case's strength and the versions.
"""

import json
import sys

import torch
from importlib.metadata import version
from lycoris.modules.full import FullModule
from lycoris.modules.ia3 import IA3Module
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from lycoris.modules.norms import NormModule
from safetensors.torch import save_file

LINEAR = dict(out=6, inputs=8)
CONV = dict(out=6, inputs=4, kernel=3)
POINT = dict(out=6, inputs=4, kernel=1)

# (name, class, layer, settings, strength)
CASES = [
    ("locon linear", LoConModule, LINEAR, dict(lora_dim=3, alpha=1.5), 1.0),
    ("locon linear rs", LoConModule, LINEAR, dict(lora_dim=3, alpha=1.5, rs_lora=True), 0.6),
    ("locon conv", LoConModule, CONV, dict(lora_dim=2, alpha=3.0), 0.6),
    ("locon point", LoConModule, POINT, dict(lora_dim=2, alpha=3.0), 1.0),
    ("locon tucker", LoConModule, CONV, dict(lora_dim=2, alpha=1.0, use_tucker=True), 1.0),
    ("dora linear", LoConModule, LINEAR, dict(lora_dim=3, alpha=1.5, weight_decompose=True), 1.0),
    ("dora linear in", LoConModule, LINEAR, dict(lora_dim=3, alpha=1.5, weight_decompose=True, wd_on_out=False), 1.0),
    ("dora conv", LoConModule, CONV, dict(lora_dim=2, alpha=1.0, weight_decompose=True), 1.0),
    ("dora conv in", LoConModule, CONV, dict(lora_dim=2, alpha=1.0, weight_decompose=True, wd_on_out=False), 1.0),
    ("dora tucker", LoConModule, CONV, dict(lora_dim=2, alpha=1.0, use_tucker=True, weight_decompose=True), 1.0),
    ("loha linear", LohaModule, LINEAR, dict(lora_dim=3, alpha=1.5), 0.6),
    ("loha conv", LohaModule, CONV, dict(lora_dim=2, alpha=1.0), 1.0),
    ("loha tucker", LohaModule, CONV, dict(lora_dim=2, alpha=1.0, use_tucker=True), 0.6),
    ("loha dora", LohaModule, CONV, dict(lora_dim=2, alpha=1.0, weight_decompose=True), 1.0),
    ("loha dora in", LohaModule, LINEAR, dict(lora_dim=3, alpha=1.5, weight_decompose=True, wd_on_out=False), 1.0),
    ("lokr whole", LokrModule, LINEAR, dict(lora_dim=3, alpha=1.5, full_matrix=True), 0.6),
    ("lokr second", LokrModule, dict(out=6, inputs=24), dict(lora_dim=2, alpha=1.5, factor=2), 1.0),
    ("lokr both", LokrModule, dict(out=36, inputs=36), dict(lora_dim=2, alpha=1.0, decompose_both=True), 0.6),
    ("lokr first", LokrModule, dict(out=24, inputs=8),
     dict(lora_dim=2, alpha=3.0, factor=2, decompose_both=True, unbalanced_factorization=True), 1.0),
    ("lokr unbalanced", LokrModule, dict(out=24, inputs=8),
     dict(lora_dim=2, alpha=1.0, factor=2, unbalanced_factorization=True), 1.0),
    ("lokr conv whole", LokrModule, CONV, dict(lora_dim=8, alpha=1.0), 1.0),
    ("lokr conv", LokrModule, dict(out=12, inputs=24, kernel=3), dict(lora_dim=2, alpha=1.0, factor=2), 0.6),
    ("lokr tucker", LokrModule, dict(out=12, inputs=24, kernel=3),
     dict(lora_dim=2, alpha=1.0, factor=2, use_tucker=True), 1.0),
    ("lokr dora", LokrModule, dict(out=6, inputs=24), dict(lora_dim=2, alpha=1.5, factor=2, weight_decompose=True), 1.0),
    ("lokr tucker both", LokrModule, dict(out=36, inputs=36, kernel=3),
     dict(lora_dim=2, alpha=1.0, decompose_both=True, use_tucker=True), 0.6),
    ("lokr scalar", LokrModule, LINEAR, dict(lora_dim=1, alpha=0.5, use_scalar=True), 0.6),
    ("ia3 linear", IA3Module, LINEAR, dict(), 0.6),
    ("ia3 linear in", IA3Module, LINEAR, dict(train_on_input=True), 1.0),
    ("ia3 conv", IA3Module, CONV, dict(), 1.0),
    ("ia3 conv in", IA3Module, CONV, dict(train_on_input=True), 0.6),
    ("full linear", FullModule, LINEAR, dict(), 0.6),
    ("full conv", FullModule, CONV, dict(), 1.0),
    ("norm layer", NormModule, dict(norm="layer", out=6), dict(), 0.6),
    ("norm group", NormModule, dict(norm="group", out=6), dict(), 1.0),
]


def layer(out, inputs=None, kernel=None, norm=None):
    if norm == "layer":
        return torch.nn.LayerNorm(out)
    if norm == "group":
        return torch.nn.GroupNorm(2, out)
    if kernel is None:
        return torch.nn.Linear(inputs, out)
    return torch.nn.Conv2d(inputs, out, kernel)


def columns(forward, _, shape):
    """The weight and bias of a forward pass, from a column of zeros and one for each input."""
    inputs = shape[1:]
    units = torch.eye(inputs.numel(), dtype=torch.float64).reshape(-1, *inputs)
    bias = forward(torch.zeros(1, *inputs, dtype=torch.float64)).reshape(-1)
    weight = forward(units).reshape(inputs.numel(), -1) - bias
    return weight.t().reshape(shape), bias


def scale_and_shift(forward, base, _):
    """The same of a norm, from inputs whose norms are known."""
    plain = torch.nn.LayerNorm if isinstance(base, torch.nn.LayerNorm) else torch.nn.GroupNorm
    shape = (9, 6) if plain is torch.nn.LayerNorm else (9, 6, 2)
    x = torch.randn(*shape, dtype=torch.float64)
    if plain is torch.nn.LayerNorm:
        normed = torch.nn.functional.layer_norm(x, (6,), eps=base.eps)
        result = forward(x)
    else:
        normed = torch.nn.functional.group_norm(x, base.num_groups, eps=base.eps).transpose(1, 2).reshape(-1, 6)
        result = forward(x).transpose(1, 2).reshape(-1, 6)
    fits = [torch.linalg.lstsq(torch.stack([normed[:, c], torch.ones(len(normed), dtype=torch.float64)], 1),
                               result[:, c : c + 1]).solution for c in range(6)]
    fits = torch.stack(fits)[..., 0]
    return fits[:, 0], fits[:, 1]


def main():
    torch.manual_seed(21)
    tensors, strengths = {}, {}
    for name, kind, shape, settings, strength in CASES:
        base = layer(**shape)
        for parameter in base.parameters():
            torch.nn.init.normal_(parameter)
        module = kind("", base, multiplier=strength, **settings)
        own = {"weight": base.weight.detach().clone(), "bias": base.bias.detach().clone()}
        if kind is FullModule:
            # It holds W + dW from here on, and takes W off the layer.
            module.apply_to()
        for key, parameter in module.named_parameters():
            if key == "dora_scale":
                parameter.data.mul_(torch.rand_like(parameter) + 0.5)
            else:
                parameter.data.copy_(torch.randn_like(parameter) * 0.7)
        saved = {key: value.detach().clone() for key, value in module.state_dict().items()}
        base, module = base.double(), module.double()
        read = scale_and_shift if "norm" in shape else columns
        with torch.no_grad():
            weight, bias = read(module.forward, base, own["weight"].shape)
        strengths[name] = strength
        tensors.update({f"{name}/file.{key}": value.contiguous() for key, value in saved.items()})
        tensors.update({f"{name}/base.{key}": value for key, value in own.items()})
        for key, value in [("weight", weight), ("bias", bias)]:
            tensors[f"{name}/merged.{key}"] = value.float().contiguous()
        print(name, {key: tuple(value.shape) for key, value in saved.items()})
    versions = {package: version(package) for package in ("lycoris_lora", "torch")}
    save_file(tensors, sys.argv[1], {"strengths": json.dumps(strengths), "versions": json.dumps(versions)})


if __name__ == "__main__":
    main()
