"""Update rules, learning rates and post-hoc averages of other programs, on small tensors.

    python tools/oracle/optimizers.py crates/calotype/tests/golden/optimizers.json

AdamW is torch's, Adafactor transformers'; Lion and the coefficients of post-hoc averages are written here
from their papers (arXiv:2302.06675, algorithm 2; arXiv:2312.02696, appendix C), and so is Muon (Jordan et al. 2024), since
torch's orthogonalises in bf16: `main` checks that the two agree as far as bf16 does.
"""

import json
import re
import sys

import numpy as np
import torch
import transformers
from transformers.optimization import (
    Adafactor,
    get_inverse_sqrt_schedule,
    get_linear_schedule_with_warmup,
)

SHAPES = {"bias": [5], "matrix": [3, 4], "kernel": [2, 3, 3, 2]}
STEPS = 10
WEIGHT_DECAY = 0.1
MAX_NORM = 2.0
PEAK = 0.3


def rates():
    return [0.01 * (1 + n % 3) for n in range(STEPS)]


def clipped(gradients):
    """All gradients of a step, scaled down to a norm of MAX_NORM."""
    norm = np.sqrt(sum(np.sum(g.astype(np.float64) ** 2) for g in gradients.values()))
    clip = np.float32(min(1.0, MAX_NORM / norm))
    return norm, {name: g * clip for name, g in gradients.items()}


def with_torch(make, initial, gradients):
    """`make` gets the groups of parameters: matrices and kernels decay, vectors do not."""
    parameters = {name: torch.nn.Parameter(torch.tensor(x)) for name, x in initial.items()}
    groups = [dict(params=[p], weight_decay=WEIGHT_DECAY if p.ndim > 1 else 0.0) for p in parameters.values()]
    optimizer = make(groups)
    for rate, step in zip(rates(), gradients):
        for group in optimizer.param_groups:
            group["lr"] = rate
        for name, g in clipped(step)[1].items():
            parameters[name].grad = torch.tensor(g)
        optimizer.step()
    return {name: p.detach().numpy() for name, p in parameters.items()}


def lion(initial, gradients, beta_1=0.9, beta_2=0.99):
    theta = {name: x.copy() for name, x in initial.items()}
    m = {name: np.zeros_like(x) for name, x in initial.items()}
    f = np.float32
    for rate, step in zip(rates(), gradients):
        for name, g in clipped(step)[1].items():
            decay = WEIGHT_DECAY if g.ndim > 1 else 0.0
            direction = np.sign(f(beta_1) * m[name] + f(1 - beta_1) * g)
            theta[name] = theta[name] - f(rate) * (direction + f(decay) * theta[name])
            m[name] = f(beta_2) * m[name] + f(1 - beta_2) * g
    return theta


def orthogonalized(u):
    """Five Newton-Schulz steps in f64."""
    x = u.astype(np.float64).reshape(len(u), -1)
    x = x / np.linalg.norm(x)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return (x.T if tall else x).reshape(u.shape)


def muon(initial, gradients, momentum=0.95):
    """Matrices and kernels [out, in * h * w]; the others are AdamW's."""
    theta = {name: x.astype(np.float64) for name, x in initial.items() if x.ndim > 1}
    m = {name: np.zeros_like(x) for name, x in theta.items()}
    for rate, step in zip(rates(), gradients):
        for name, g in clipped(step)[1].items():
            if g.ndim > 1:
                m[name] += (1 - momentum) * (g - m[name])
                u = momentum * m[name] + (1 - momentum) * g
                scale = max(1, len(u) / u[0].size) ** 0.5
                theta[name] *= 1 - rate * WEIGHT_DECAY
                theta[name] -= rate * scale * orthogonalized(u)
    return theta


def torchs_muon(initial, gradients):
    make = lambda groups: torch.optim.Muon(groups, lr=1.0, momentum=0.95, adjust_lr_fn="original")
    flat = lambda tensors: {name: x.reshape(len(x), -1) for name, x in tensors.items() if x.ndim > 1}
    parameters = {name: torch.nn.Parameter(torch.tensor(x)) for name, x in flat(initial).items()}
    optimizer = make([dict(params=[p], weight_decay=WEIGHT_DECAY) for p in parameters.values()])
    for rate, step in zip(rates(), gradients):
        for group in optimizer.param_groups:
            group["lr"] = rate
        for name, g in flat(clipped(step)[1]).items():
            parameters[name].grad = torch.tensor(g)
        optimizer.step()
    return {name: p.detach().numpy().reshape(SHAPES[name]) for name, p in parameters.items()}


def flat(tensors):
    return {name: [float(f"{x:.9g}") for x in np.asarray(values).ravel()] for name, values in tensors.items()}


def optimizers():
    rng = np.random.default_rng(0)
    # Sixteenths: short, and exact in f32.
    draw = lambda shape, scale: (np.round(rng.normal(size=shape) * scale * 16) / 16).astype(np.float32)
    initial = {name: draw(shape, 1) for name, shape in SHAPES.items()}
    scales = [1 if n % 2 else 0.2 for n in range(STEPS)]  # every other step is clipped
    gradients = [{name: draw(shape, scale) for name, shape in SHAPES.items()} for scale in scales]
    adafactor = lambda scale: lambda groups: Adafactor(
        groups, lr=1.0, scale_parameter=scale, relative_step=False, warmup_init=False
    )
    adamw = lambda groups: torch.optim.AdamW(groups, betas=(0.9, 0.99), eps=1e-8)
    results = {
        "adamw": with_torch(adamw, initial, gradients),
        "lion": lion(initial, gradients),
        "adafactor": with_torch(adafactor(True), initial, gradients),
        "adafactor_unscaled": with_torch(adafactor(False), initial, gradients),
    }
    matrices = muon(initial, gradients)
    for name, found in torchs_muon(initial, gradients).items():
        assert np.abs(found - matrices[name]).max() < 5e-3, name
    results["muon"] = {"bias": results["adamw"]["bias"], **matrices}
    return {
        "shapes": SHAPES,
        "weight_decay": WEIGHT_DECAY,
        "max_gradient_norm": MAX_NORM,
        "learning_rates": rates(),
        "norms": [float(clipped(step)[0]) for step in gradients],
        "initial": flat(initial),
        "gradients": [flat(step) for step in gradients],
        "results": {name: flat(result) for name, result in results.items()},
    }


def lr_schedules():
    cases = []
    for name, steps, warm_up in [
        ("linear", 12, 4),
        ("cosine", 12, 0),
        ("one_cycle", 20, 6),
        ("one_cycle", 20, 0),
        ("one_cycle", 7, 7),
        ("one_cycle", 30, 2),
        ("inverse_sqrt", 12, 4),
    ]:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
        lr = torch.optim.lr_scheduler
        schedule = {
            "linear": lambda: get_linear_schedule_with_warmup(optimizer, warm_up, steps),
            "cosine": lambda: lr.CosineAnnealingLR(optimizer, T_max=steps - warm_up),
            "one_cycle": lambda: lr.OneCycleLR(
                optimizer, PEAK, total_steps=steps, pct_start=warm_up / steps, cycle_momentum=False
            ),
            "inverse_sqrt": lambda: get_inverse_sqrt_schedule(optimizer, warm_up),
        }[name]()
        rates = []
        for step in range(steps):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if step + 1 < steps:
                schedule.step()
        cases.append(dict(schedule=name, warm_up=warm_up, rates=rates))
    return cases


def gamma_of(sigma_rel):
    s = sigma_rel**-2.0
    return float(np.roots([1, 7, 16 - s, 12 - s]).real.max())


def inner_product(t_p, gamma_p, t_q, gamma_q):
    """Eq. 151 of profiles in columns and rows."""
    ratio, later = t_p / t_q, np.maximum(t_p, t_q)
    overlap = np.where(t_p < t_q, ratio**gamma_q, ratio**-gamma_p)
    return (gamma_p + 1) * (gamma_q + 1) / (gamma_p + gamma_q + 1) * overlap / later


def post_hoc_ema():
    sigmas = [0.05, 0.1]
    stored = [(t, gamma_of(s)) for t in (1000, 2000, 3000, 4000, 5000) for s in sigmas]
    t, gamma = np.array(stored).T
    matrix = inner_product(t[:, None], gamma[:, None], t[None], gamma[None])
    wanted = []
    for step, sigma_rel in [(5000, 0.03), (5000, 0.075), (5000, 0.15), (4400, 0.08)]:
        x = np.linalg.solve(matrix, inner_product(t, gamma, float(step), gamma_of(sigma_rel)))
        wanted.append(dict(step=step, sigma_rel=sigma_rel, coefficients=list(x / x.sum())))
    gammas = [dict(sigma_rel=s, gamma=gamma_of(s)) for s in (0.005, 0.02, 0.05, 0.1, 0.2, 0.28)]
    return dict(gammas=gammas, stored=stored, wanted=wanted)


def main(out):
    versions = dict(torch=torch.__version__, transformers=transformers.__version__, numpy=np.__version__)
    golden = dict(
        versions=versions, optimizers=optimizers(), lr_schedules=lr_schedules(), post_hoc_ema=post_hoc_ema()
    )
    # One line for each list of numbers.
    text = json.dumps(golden, indent=1)
    text = re.sub(r"\[[-+.\de,\s]*\]", lambda found: " ".join(found.group().split()), text)
    with open(out, "w") as file:
        file.write(text + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
