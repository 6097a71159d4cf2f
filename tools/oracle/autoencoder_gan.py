"""Makes crates/calotype/tests/golden/patch_gan.{safetensors,json}: the PatchGAN discriminator and its losses.

    python tools/oracle/autoencoder_gan.py crates/calotype/tests/golden

The network has the layers and the names of `NLayerDiscriminator` of taming-transformers (`main.0.weight`, …), with
8 channels, 2 layers and batch norms in training mode: each pass normalises with the statistics of its own batch.
The real and the fake batch are two passes, the real one first.

    param.<name>      every parameter
    buffer.<name>     the running mean and variance after both passes, from 0 and 1, with momentum 0.1
    input.real, input.fake    [2, 3, 32, 32]
    output.real, output.fake  [2, 1, 6, 6]
    loss              [1], ½ (mean max(0, 1 − real) + mean max(0, 1 + fake))
    grad.<name>       d loss / d param.<name>
    grad_input.fake   d (−mean D(fake)) / d input.fake: the generator's loss

`step.<name>` is one step of the autoencoder's loss in latent-diffusion (`LPIPSWithDiscriminator`, after the
discriminator has started): the decoder's last layer is a convolution of `step.features`, LPIPS and KL are given
numbers. Scalars are in patch_gan.json. All is repeated in float64; the script refuses to write numbers whose
rounding in float32 uses up more than a third of the tolerance that crates/calotype/tests/golden/README.md states.
"""

import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import nn

from gradients import GRADIENT_TOLERANCE, OUTPUT_TOLERANCE, ROOM, in_fixed_order

CHANNELS, LAYERS, DEVIATION = 8, 2, 0.2
FEATURES = 4  # channels before the decoder's last layer
WEIGHTS = dict(perceptual=0.7, kl=1e-2, discriminator=0.5, discriminator_factor=1.0)
FLOOR = 2e-7


class PatchGan(nn.Module):
    """A logit for each patch: n + 1 strided or plain 4×4 convolutions, then one to a single channel."""

    def __init__(self, channels, layers):
        super().__init__()
        blocks = [nn.Conv2d(3, channels, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        inner = channels
        for n in range(1, layers + 1):
            outer = channels * min(2**n, 8)
            stride = 2 if n < layers else 1
            blocks += [nn.Conv2d(inner, outer, 4, stride=stride, padding=1, bias=False), nn.BatchNorm2d(outer)]
            blocks += [nn.LeakyReLU(0.2)]
            inner = outer
        self.main = nn.Sequential(*blocks, nn.Conv2d(inner, 1, 4, stride=1, padding=1))

    def forward(self, x):
        return self.main(x)


def discriminator(generator):
    """Kernels N(0, 0.2²); taming's 0.02 would give logits near 0. Biases off 0 and norms off 1."""
    network = PatchGan(CHANNELS, LAYERS).train()
    for name, parameter in sorted(network.named_parameters()):
        centre = 1.0 if parameter.ndim == 1 and name.endswith("weight") else 0.0
        parameter.data = centre + DEVIATION * torch.randn(parameter.shape, generator=generator)
    return network


def hinge(real, fake):
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())


def discriminator_step(network, real, fake):
    """Logits, the discriminator's loss and its gradients, and the generator's gradient at the picture."""
    out_real, out_fake = network(real), network(fake)
    loss = hinge(out_real, out_fake)
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    tensors = {"output.real": out_real, "output.fake": out_fake, "loss": loss.reshape(1)}
    tensors |= {f"grad.{name}": g for (name, _), g in zip(network.named_parameters(), gradients, strict=True)}
    buffers = {n: b.clone() for n, b in network.named_buffers() if b.is_floating_point()}
    tensors |= {f"buffer.{name}": value for name, value in buffers.items()}
    fake = fake.clone().requires_grad_()
    tensors["grad_input.fake"] = torch.autograd.grad(-network(fake).mean(), fake)[0]
    return tensors


def autoencoder_step(network, x, given):
    """One loss of the autoencoder: what goes into the adaptive weight, every term, and the gradients."""
    weight, logvar = given["last_layer"].clone().requires_grad_(), given["logvar"].clone().requires_grad_()
    reconstruction = F.conv2d(given["features"], weight, given["last_layer_bias"], padding=1)
    error = (x - reconstruction).abs() + WEIGHTS["perceptual"] * given["lpips"].reshape(-1, 1, 1, 1)
    nll = (error / logvar.exp() + logvar).sum() / len(x)
    kl = given["kl"].sum() / len(x)
    g_loss = -network(reconstruction).mean()
    grad_nll, grad_g = (torch.autograd.grad(term, weight, retain_graph=True)[0] for term in (nll, g_loss))
    adaptive = (grad_nll.norm() / (grad_g.norm() + 1e-4)).clamp(0, 1e4) * WEIGHTS["discriminator"]
    total = nll + WEIGHTS["kl"] * kl + adaptive.detach() * WEIGHTS["discriminator_factor"] * g_loss
    wanted = (weight, logvar, reconstruction)
    names = ("grad.last_layer", "grad.logvar", "grad.reconstruction")
    tensors = dict(zip(names, torch.autograd.grad(total, wanted), strict=True))
    tensors |= dict(reconstruction=reconstruction, grad_nll=grad_nll, grad_g=grad_g)
    scalars = dict(nll=nll, kl=kl, g_loss=g_loss, adaptive_weight=adaptive, total=total)
    tensors = {f"step.{name}": value for name, value in tensors.items()}
    return tensors, {name: value.item() for name, value in scalars.items()}


def draw(generator):
    """Two batches of pictures, and what the autoencoder's step is given."""
    real, fake = (torch.rand(2, 3, 32, 32, generator=generator) * 2 - 1 for _ in range(2))
    given = dict(
        features=torch.randn(2, FEATURES, 32, 32, generator=generator),
        last_layer=torch.randn(3, FEATURES, 3, 3, generator=generator) * 0.1,
        last_layer_bias=torch.randn(3, generator=generator) * 0.1,
        lpips=torch.rand(2, generator=generator),
        kl=100 * torch.rand(2, generator=generator),
        logvar=torch.tensor([-0.3]),
    )
    return real, fake, given


def evaluate(dtype):
    """Parameters and inputs, results, and the scalars of the autoencoder's step; the same numbers in both dtypes."""
    generator = torch.Generator().manual_seed(2012)
    network = discriminator(generator).to(dtype)
    real, fake, given = draw(generator)
    real, fake, given = real.to(dtype), fake.to(dtype), {name: value.to(dtype) for name, value in given.items()}
    inputs = {f"param.{name}": value for name, value in network.named_parameters()}
    inputs |= {"input.real": real, "input.fake": fake} | {f"step.{name}": value for name, value in given.items()}
    results = discriminator_step(network, real, fake)
    tensors, scalars = autoencoder_step(network, real, given)
    return inputs, results | tensors, scalars


def used_room(single, double):
    """The largest rounding error over its tolerance, per element."""
    worst = 0.0
    for name, exact in double.items():
        relative = GRADIENT_TOLERANCE if "grad" in name else OUTPUT_TOLERANCE
        tolerance = relative * exact.abs().max() + FLOOR
        worst = max(worst, ((single[name] - exact).abs().max() / tolerance).item())
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    inputs, results, scalars = evaluate(torch.float32)
    _, exact, exact_scalars = evaluate(torch.float64)
    room = used_room(results, exact)
    room = max(room, *(abs(scalars[n] - v) / abs(v) / OUTPUT_TOLERANCE for n, v in exact_scalars.items()))
    if room > ROOM:
        raise SystemExit(f"error: rounding in float32 uses {room:.2f} of the tolerance (limit {ROOM:.2f})")
    tensors = {name: value.detach().contiguous() for name, value in (inputs | results).items()}
    (folder / "patch_gan.safetensors").write_bytes(in_fixed_order(save(tensors, dict(format="pt"))))
    network = dict(channels=CHANNELS, layers=LAYERS, leaky_slope=0.2, batch_norm_eps=1e-5, momentum=0.1)
    report = dict(made_by=dict(torch=torch.__version__.split("+")[0]), network=network, weights=WEIGHTS)
    report |= dict(hinge=results["loss"].item(), **scalars)
    (folder / "patch_gan.json").write_text(json.dumps(report, indent=2) + "\n")
    print(f"{len(tensors)} tensors; rounding uses {room:.3f} of the tolerance; {json.dumps(scalars)}")


if __name__ == "__main__":
    main()
