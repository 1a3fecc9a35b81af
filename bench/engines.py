"""The engines, in turn in one run: ours in OpenVINO and in torch, OpenVINO by hand, fastembed.

Run: python bench/engines.py [--rounds 7] [--other SRC] [--fastembed PYTHON] [--out JSON]

ViT-B/32 with random weights, a process a contestant that stays, so that each round asks all of them
within seconds; ratios are of the same round. `--other` is the `src` of another checkout, asked
with its own defaults; `--fastembed` a Python that has it installed (fastembed 0.9.1).

- `images/s`: 32 decoded images, uint8, to embeddings. By hand: the file that `export --format
  openvino` writes, in OpenVINO with its defaults (bf16 where the processor multiplies it).
- `p50 ms`: one decoded image to its embedding.
- `prompts/s`: class names in 80 templates, from strings to embeddings.
- `files/s`: JPEG files of 433 pixels to embeddings.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve()
FIGURES = ("images/s", "p50 ms", "prompts/s", "files/s")
BATCH, CLASSES, FILES = 32, 40, 96
WARM_UP_SECONDS, SECONDS = 1.0, 2.0


def calls_of_twinlens(engine: str, folder: Path) -> dict[str, Callable[[], object]]:
    """What our users call; `engine` is empty in checkouts that have none."""
    import numpy as np  # noqa: PLC0415

    import twinlens  # noqa: PLC0415
    from twinlens.eval.prompts import imagenet_classnames, imagenet_templates  # noqa: PLC0415

    options = {"engine": engine} if engine else {}
    lens = twinlens.load(folder / "model", device="cpu", **options)
    names = imagenet_classnames()[:CLASSES]
    prompts = [template.format(name) for name in names for template in imagenet_templates()]
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, 3, 224, 224), np.uint8)
    files = sorted((folder / "files").glob("*.jpg"))
    embed = getattr(lens, "embed_pixels", None)
    if embed is None:
        import torch  # noqa: PLC0415

        def embed(batch: object) -> object:
            return lens.encode_pixels(torch.as_tensor(batch)).float().numpy()

    return {
        "images/s": lambda: embed(pixels),
        "p50 ms": lambda: embed(pixels[:1]),
        "prompts/s": lambda: lens.embed_texts(prompts),
        "files/s": lambda: lens.embed_images(files),
    }


def calls_by_hand(folder: Path) -> dict[str, Callable[[], object]]:
    """OpenVINO as its users drive it, on the file that we export."""
    import numpy as np  # noqa: PLC0415
    import openvino  # noqa: PLC0415

    model = openvino.Core().compile_model(folder / "exported" / "image.xml", "CPU")
    request = model.create_infer_request()
    images = np.random.default_rng(0).standard_normal((BATCH, 3, 224, 224), np.float32)
    return {
        "images/s": lambda: request.infer({0: images}, share_inputs=True),
        "p50 ms": lambda: request.infer({0: images[:1]}, share_inputs=True),
    }


def calls_of_fastembed(folder: Path) -> dict[str, Callable[[], object]]:
    """Files to embeddings as fastembed's users write it."""
    from fastembed import ImageEmbedding  # noqa: PLC0415

    path = str(folder / "fastembed")
    model = ImageEmbedding(
        "Qdrant/clip-ViT-B-32-vision", specific_model_path=path, threads=os.cpu_count()
    )
    files = [str(file) for file in sorted((folder / "files").glob("*.jpg"))]
    return {"files/s": lambda: list(model.embed(files, batch_size=BATCH))}


def serve(contestant: str, folder: Path) -> None:
    """A contestant's process: measures what it is asked for, line by line."""
    if contestant == "by hand":
        calls = calls_by_hand(folder)
    elif contestant == "fastembed":
        calls = calls_of_fastembed(folder)
    else:
        calls = calls_of_twinlens("" if contestant == "other" else contestant, folder)
    counts = {"images/s": BATCH, "prompts/s": 80 * CLASSES, "files/s": FILES}
    for call in calls.values():
        call()
        call()
    print(json.dumps(sorted(calls)), flush=True)
    for line in sys.stdin:
        call, figure = calls[line.strip()], line.strip()
        begin = time.perf_counter()
        while time.perf_counter() - begin < WARM_UP_SECONDS:
            call()  # threads, caches and the clock are up again
        times: list[float] = []
        begin = time.perf_counter()
        while len(times) < 3 or time.perf_counter() - begin < SECONDS:
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        middle = statistics.median(times)
        print(1000 * middle if figure == "p50 ms" else counts[figure] / middle, flush=True)


class Contestant:
    """A process that measures one engine."""

    def __init__(self, name: str, python: str, source: Path, folder: Path) -> None:
        command = [python, str(HERE), "--serve", name, "--folder", str(folder)]
        environment = os.environ | {"PYTHONPATH": str(source)}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.figures = json.loads(self._line())

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def measure(self, figure: str) -> float:
        """Ask for a figure."""
        assert self.process.stdin is not None
        self.process.stdin.write(figure + "\n")
        self.process.stdin.flush()
        return float(self._line())


def write_inputs(folder: Path) -> None:
    """A model with random weights in every form, and JPEG files."""
    import torch  # noqa: PLC0415
    from photos import jpeg  # noqa: PLC0415

    from twinlens import CLIP, Embedder, presets  # noqa: PLC0415
    from twinlens.checkpoints.native import save_model  # noqa: PLC0415
    from twinlens.export.deployment import export_model  # noqa: PLC0415
    from twinlens.text.clip_bpe import Tokenizer  # noqa: PLC0415

    torch.manual_seed(0)
    model = CLIP(presets.vit_b_32()).eval()
    save_model(model, folder / "model")
    lens = Embedder.from_model(model, Tokenizer.clip(), device="cpu", precision="fp32")
    export_model(lens, folder / "exported", "openvino")
    export_model(lens, folder / "onnx", "onnx")
    (folder / "fastembed").mkdir()
    (folder / "onnx" / "image.onnx").rename(folder / "fastembed" / "model.onnx")
    size, mean, std = 224, *(list(getattr(lens.config.preprocess, n)) for n in ("mean", "std"))
    processor = {
        "do_center_crop": True,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_resize": True,
        "crop_size": {"height": size, "width": size},
        "size": {"shortest_edge": size},
        "image_mean": mean,
        "image_std": std,
        "resample": 3,
        "image_processor_type": "CLIPImageProcessor",
    }
    (folder / "fastembed" / "preprocessor_config.json").write_text(json.dumps(processor))
    (folder / "files").mkdir()
    for number in range(FILES):
        (folder / "files" / f"{number:03}.jpg").write_bytes(jpeg(number, 433))


def start(folder: Path, other: Path | None, fastembed: str | None) -> dict[str, Contestant]:
    """All contestants, each in its process."""
    source = HERE.parents[1] / "src"
    wanted = dict.fromkeys(("openvino", "torch", "by hand"), (sys.executable, source))
    if other:
        wanted["other"] = (sys.executable, other)
    if fastembed:
        wanted["fastembed"] = (fastembed, source)
    return {one: Contestant(one, *where, folder) for one, where in wanted.items()}


def measure(
    contestants: dict[str, Contestant], rounds: int, figures: list[str]
) -> dict[str, dict[str, list[float]]]:
    """Figures of each contestant, round by round."""
    found: dict[str, dict[str, list[float]]] = {figure: {} for figure in figures}
    for _ in range(rounds):
        for figure in figures:
            for one, contestant in contestants.items():
                if figure in contestant.figures:
                    found[figure].setdefault(one, []).append(contestant.measure(figure))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--other", type=Path)
    parser.add_argument("--fastembed")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--figures", nargs="*", choices=FIGURES)
    parser.add_argument("--serve")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.folder)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder)
        contestants = start(folder, options.other, options.fastembed)
        found = measure(contestants, options.rounds, options.figures or list(FIGURES))
        for contestant in contestants.values():
            contestant.process.kill()
    for figure, values in found.items():
        for one, series in values.items():
            ratios = [a / b for a, b in zip(values["openvino"], series, strict=True)]
            middle = statistics.median(ratios)
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
            print(
                f"{figure:10} {one:10} {statistics.median(series):9.1f}   openvino / it: "
                f"{middle:.3f} ({spread})"
            )
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
