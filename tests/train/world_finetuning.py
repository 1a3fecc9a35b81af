"""Fine-tuning of one and two processes: a program of its own, for `test_worlds`.

Usage: world_finetuning.py DATA OUT
"""

import csv
import sys
from pathlib import Path

import torch

from tests.torchvision_shim import declare
from tests.train.world_runs import Processes, half_of, run
from twinlens.model.checkpoints import open_checkpoint
from twinlens.train.adapt import Adapt
from twinlens.train.optim import OptimConfig

KINDS = {
    "lora": Adapt(lora_rank=2, layer_decay=0.8),
    "lit": Adapt(unlocked_image_layers=0),
    "classifier": Adapt(head="linear-probe", unlocked_image_layers=1),
}


def labelled(data: Path, table: Path) -> Path:
    """Pictures with same-named captions as a table with labels: the last line of each caption."""
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "text", "label"])
        for picture in sorted(data.glob("*.png")):
            text, label = picture.with_suffix(".txt").read_text().splitlines()
            writer.writerow([picture, text, label])
    return table


def main(pictures: Path, out: Path) -> None:
    torch.set_num_threads(1)
    data = labelled(pictures, out / "squares.csv")
    declare()  # peft imports transformers, which wants all of torchvision where there is any
    one = Processes()
    two = Processes(size=2)
    sharded = Processes(size=2, parallel="fsdp", accum_freq=2)
    run(one, data, out / "base", steps=4)
    base = out / "base" / "model"
    start = {
        "init": str(base),
        "model": open_checkpoint(base).config,
        "optim": OptimConfig(lr=1e-3, warmup_steps=2, clip_norm=1.0, ema_decay=0.9),
    }
    for kind, adapt in KINDS.items():
        for name, processes in {"one": one, "two": two, "sharded": sharded}.items():
            run(processes, data, out / f"{kind}-{name}", adapt=adapt, **start)
        half_of(out / f"{kind}-sharded", out / f"{kind}-sharded-then-two")
        run(two, data, out / f"{kind}-sharded-then-two", resume=True, adapt=adapt, **start)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
