#!/usr/bin/env bash
# Every figure that needs a GPU, in one go: bench/gpu.sh [OUT]    (under 15 minutes on one card)
#
# Pairs a second and model FLOPs utilisation of training, ours beside open_clip's where it is
# installed, at the largest batch that fits; memory and time of the loss, dense and
# tiled; towers, classifiers from words and files to embeddings, ours (also compiled, in CUDA
# graphs) beside open_clip's; rates by precision and batch. Prints one table and writes JSON to OUT (bench/results/gpu).
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-bench/results/gpu}
python=${PYTHON:-.venv/bin/python}
[ -x "$python" ] || python=python3
mkdir -p "$out"
missed() { echo "gpu.sh: missed $1" >&2; }  # the others go on

"$python" - <<'PY' || { echo "gpu.sh: got no CUDA device, expected one" >&2; exit 2; }
import sys, torch
if not torch.cuda.is_available():
    sys.exit(1)
print(torch.cuda.get_device_name(), "torch", torch.__version__)
PY

for model in ViT-B-32 ViT-B-16; do
  timeout 150 "$python" bench/train_steps.py --device cuda --model "$model" --batch 0 \
    --rounds 1 --steps 8 --out "$out/train-$model.json" || missed "training of $model"
done
timeout 150 "$python" bench/tiled_loss.py --device cuda --rounds 1 --out "$out/tiled_loss.json" \
  || missed "losses"
for model in ViT-B-32 RN50; do
  timeout 200 "$python" bench/inference.py --device cuda --model "$model" --quick --rounds 1 \
    --out "$out/inference-$model.json" || missed "inference of $model"
done
timeout 100 "$python" -c "from twinlens.cli.main import main; main()" bench ViT-B-32 \
  --device cuda --batch 1,8,64,512 --out "$out/bench-ViT-B-32.json" || missed "rates"
"$python" bench/gpu_table.py "$out"
