"""Inception features and the Fréchet distance at d = 2048: Calotype beside torch-fidelity and scipy, alternating.

    cargo bench -p calotype --bench metrics --no-run    # prints the binary's path
    python benches/peers/metrics.py target/release/deps/metrics-HASH [RUNS]

Needs what tools/oracle/requirements.txt installs. Prints the medians and their ratios.
"""

import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import scipy.linalg
import torch
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

sys.path.append(str(pathlib.Path(__file__).parents[2] / "tools/oracle"))
import inception

PICTURES, D = 64, 2048


def network():
    with tempfile.NamedTemporaryFile(suffix=".pth") as file:
        inception.weights(file.name)
        return FeatureExtractorInceptionV3("compat", ["2048"], feature_extractor_weights_path=file.name)


@torch.no_grad()
def features_per_second(extractor):
    pictures = torch.randint(0, 256, (PICTURES, 3, 64, 64), dtype=torch.uint8)
    extractor(pictures[:16])
    begin = time.time()
    for batch in pictures.split(16):
        extractor(batch)
    return PICTURES / (time.time() - begin)


def side(seed):
    i, k = np.arange(D), np.arange(8)
    wave = np.sin((i[:, None] + seed) * (k + 1) * 0.013)
    return wave[:, 0], 0.01 * wave @ wave.T + np.diag(0.5 / (1 + 0.01 * i))


def frechet_seconds():
    (mu_1, sigma_1), (mu_2, sigma_2) = side(0.0), side(3.0)
    begin = time.time()
    root = scipy.linalg.sqrtm(sigma_1 @ sigma_2)
    ((mu_1 - mu_2) ** 2).sum() + np.trace(sigma_1 + sigma_2 - 2 * root.real)
    return time.time() - begin


def main():
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    torch.set_num_threads(2)
    extractor, rows = network(), []
    for _ in range(runs):
        ours = json.loads(subprocess.run([sys.argv[1]], check=True, capture_output=True, text=True).stdout)
        rows.append((ours["features_per_second"], features_per_second(extractor), ours["frechet_seconds"], frechet_seconds()))
    ours, theirs, our_distance, their_distance = (statistics.median(column) for column in zip(*rows))
    print(f"features a second: {ours:.2f}, torch-fidelity {theirs:.2f}, ratio {ours / theirs:.2f}")
    print(f"Fréchet distance: {our_distance:.2f} s, scipy {their_distance:.2f} s, ratio {their_distance / our_distance:.2f}")


main()
