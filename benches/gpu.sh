#!/usr/bin/env bash
# Times of a GPU in one go, for a short lease: steps of U-Nets in the shape of Stable Diffusion 1.5 and XL, training steps,
# and a whole `demo`. Needs the binary (built anywhere with `cargo build --release --features gpu`), this folder, models/,
# and the GPU's Vulkan driver; no compiler, no network. docs/gpu.md describes what it prints.
#
#   benches/gpu.sh [BINARY] [DEVICE]         default: target/release/calotype gpu
#
# LIMIT   seconds that one line may take, kernels compiled for it included (default 120)
# RECIPES which recipes `demo` trains at the end (default "smoke demo"; "" for none)
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

binary=$(realpath "${1:-target/release/calotype}")
device=${2:-gpu}
limit=${LIMIT:-120}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The number of a key in the JSON object of a report.
number() {
    grep -o "\"$1\": *[0-9.eE+-]*" "$work/report.json" | head -n 1 | sed 's/.*: *//' | awk '{ printf "%.1f", $1 }'
}

# One line of the table: what it is called, then the arguments of `calotype bench`.
line() {
    local what=$1
    shift
    if timeout "$limit" "$binary" bench "$@" --device "$device" --json >"$work/report.json" 2>"$work/errors"; then
        echo "| $what | $(number median_ms) | $(number min_ms) | $(number max_ms) | $(number gflops) | $(number device_memory_mib) |"
    elif [[ $? == 124 ]]; then
        echo "| $what | more than $limit s in all | | | | |"
    else
        echo "| $what | failed: $(grep -v '^ *$' "$work/errors" | head -n 1) | | | | |"
    fi
}

"$binary" --version
echo '| step | median ms | fastest | slowest | GFLOP/s | device MiB |'
echo '|---|---|---|---|---|---|'
line 'SD 1.5 U-Net, forward, 64×64, batch 2' --config benches/configs/unet-sd15.json --batch 2 --size 64 --mode forward
line 'SD 1.5 U-Net, training, 64×64, batch 4' --config benches/configs/unet-sd15.json --batch 4 --size 64 --mode train
line 'SDXL U-Net, forward, 128×128, batch 2' --config benches/configs/unet-sdxl.json --batch 2 --size 128 --mode forward
line 'U-Net of `full`, training, 16×16, batch 32' --config models/emoji-scenes-64/unet/config.json --batch 32 --size 16 --context-tokens 24 --mode train
line 'U-Net 96/192, training, 16×16, batch 32' --config benches/configs/unet-96-192.json --batch 32 --size 16 --context-tokens 16 --mode train
line 'autoencoder 32/64/128, training, 64×64, batch 16' --config benches/configs/vae-64.json --batch 16 --size 64 --mode train
line 'CLIP of `demo`, training, batch 64' --config benches/configs/clip-demo.json --batch 64 --size 32 --mode train
echo
grep -o '"device": *"[^"]*"' "$work/report.json"
for recipe in ${RECIPES-smoke demo}; do
    begin=$(date +%s)
    if "$binary" demo --recipe "$recipe" --device "$device" --out "$work/$recipe" >"$work/output" 2>&1; then
        echo "demo --recipe $recipe: $(($(date +%s) - begin)) s"
        grep -E '^ *"(reconstruction_psnr|clip_retrieval_at_1|prompt_accuracy)"' "$work/$recipe/metrics.json"
    else
        echo "demo --recipe $recipe: failed: $(tail -n 1 "$work/output")"
    fi
done
