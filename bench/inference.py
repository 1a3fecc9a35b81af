"""Towers, classifiers from words and files to embeddings: ours beside open_clip's, in turn.

Run: python bench/inference.py [--model ViT-B-32] [--rounds 3] [--device cpu] [--quick]

Fresh processes in turn, random weights, the same JPEG files. open_clip computes in float32 unless
asked; `pure_bf16` is the fastest that it can be asked for. Ours are the defaults of `load`,
and beside them 8 bits on a processor and compiled towers on a GPU.

- `images/s`: the image tower alone, batches of 32 as they are on the device.
- `p50 ms`: one image's tensor to its features.
- `prompts/s`: ImageNet's class names in 80 templates, from strings to the classifier. Ours are all
  80,000 of them (of 8 bits and of compiled towers 8,000); open_clip's are 800: it pads every text
  to the whole context, so that its time is the number of texts.
- `files/s`: JPEG files to embeddings, open_clip through its transform and a loader of as many
  workers as there are cores.
- `frames/s`: 32 frames of a film, 640 x 480 in the processor's memory, to embeddings: ours resized
  and normalised on the device, open_clip's by its transform.
- `peak MiB`: of the whole.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from contest import peak_mib, print_figures, race, ratios, save, spread
from photos import jpeg

HERE = Path(__file__).resolve()
OURS, DEFAULT, BF16 = "twinlens", "open_clip", "open_clip pure_bf16"
INT8, COMPILED = "twinlens int8", "twinlens compiled"
FIGURES = ("images/s", "prompts/s", "files/s", "frames/s")
FRAME = (480, 640)


def seconds_each(call: Callable[[], object], rounds: int, sync: Callable[[], None]) -> list[float]:
    """Seconds of each call, after two that warm up."""
    times: list[float] = []
    for _ in range(rounds + 2):
        start = time.perf_counter()
        call()
        sync()
        times.append(time.perf_counter() - start)
    return times[2:]


def ours(options: argparse.Namespace, files: list[Path]) -> dict[str, Callable[[], object]]:
    """What is measured, as our users write it."""
    import torch  # noqa: PLC0415

    from twinlens import CLIP, Embedder, presets  # noqa: PLC0415
    from twinlens.eval.prompts import imagenet_classnames, imagenet_templates  # noqa: PLC0415
    from twinlens.text.clip_bpe import Tokenizer  # noqa: PLC0415

    config = getattr(presets, options.model.lower().replace("-", "_"))()
    lens = Embedder.from_model(
        CLIP(config),
        Tokenizer.clip(),
        device=options.device,
        precision="int8" if options.contest == INT8 else "auto",
        compiled=options.contest == COMPILED,
    )
    size = config.preprocess.image_size
    pixels = torch.randint(0, 256, (32, 3, size, size), dtype=torch.uint8, device=lens.device)
    frames = torch.randint(0, 256, (32, 3, *FRAME), dtype=torch.uint8)
    whole = options.contest == OURS and not options.quick
    names = imagenet_classnames()[: None if whole else 10 * options.classes]
    return {
        "images/s": lambda: lens.embed_pixels(pixels),
        "p50 ms": lambda: lens.embed_pixels(pixels[:1]),
        "prompts/s": lambda: lens.zero_shot_classifier(names, imagenet_templates()),
        "files/s": lambda: lens.embed_images(files),
        "frames/s": lambda: lens.embed_pixels(frames),
        "prompts": lambda: 80 * len(names),
    }


def theirs(options: argparse.Namespace, files: list[Path]) -> dict[str, Callable[[], object]]:
    """The same as open_clip's users write it."""
    import open_clip  # noqa: PLC0415
    import torch  # noqa: PLC0415
    from PIL import Image  # noqa: PLC0415

    from twinlens.eval.prompts import imagenet_classnames, imagenet_templates  # noqa: PLC0415

    precision = "pure_bf16" if options.contest == BF16 else "fp32"
    made = open_clip.create_model_and_transforms(
        options.model, precision=precision, device=options.device
    )
    model, transform = made[0].eval(), made[2]
    tokenizer = open_clip.get_tokenizer(options.model)
    dtype = torch.bfloat16 if precision == "pure_bf16" else torch.float32
    size = model.visual.image_size[0]
    pixels = torch.randn(32, 3, size, size, device=options.device, dtype=dtype)
    names = imagenet_classnames()[: options.classes]

    class Files(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, index: int):
            return transform(Image.open(files[index]))

    def embed() -> None:
        loader = torch.utils.data.DataLoader(Files(), batch_size=32, num_workers=os.cpu_count())
        for batch in loader:
            model.encode_image(batch.to(options.device, dtype), normalize=True)

    frames = torch.randint(0, 256, (32, *FRAME, 3), dtype=torch.uint8).numpy()

    def embed_frames() -> None:
        batch = torch.stack([transform(Image.fromarray(frame)) for frame in frames])
        model.encode_image(batch.to(options.device, dtype), normalize=True).float().cpu()

    return {
        "images/s": lambda: model.encode_image(pixels),
        "p50 ms": lambda: model.encode_image(pixels[:1]).float().cpu(),
        "prompts/s": lambda: open_clip.build_zero_shot_classifier(
            model, tokenizer, names, imagenet_templates(), device=options.device
        ),
        "files/s": embed,
        "frames/s": embed_frames,
        "prompts": lambda: 80 * len(names),
    }


def contest(options: argparse.Namespace) -> dict[str, float]:
    """One contestant's figures; runs in a process of its own."""
    import torch  # noqa: PLC0415

    files = sorted(Path(options.photos).glob("*.jpg"))
    make = ours if options.contest in (OURS, INT8, COMPILED) else theirs
    sync = torch.cuda.synchronize if options.device == "cuda" else lambda: None
    with torch.inference_mode():
        calls = make(options, files)
        tower = seconds_each(calls["images/s"], 10, sync)
        single = seconds_each(calls["p50 ms"], 30, sync)
        start = time.perf_counter()
        calls["prompts/s"]()
        prompts = time.perf_counter() - start
        film = seconds_each(calls["frames/s"], 5, sync)
        calls["files/s"]()  # decoders warm up too
        start = time.perf_counter()
        calls["files/s"]()
        embedding = time.perf_counter() - start
    return {
        "images/s": 32 / statistics.median(tower),
        "p50 ms": 1000 * statistics.median(single),
        "prompts/s": calls["prompts"]() / prompts,
        "files/s": len(files) / embedding,
        "frames/s": 32 / statistics.median(film),
        "peak MiB": peak_mib(),
    }


def main() -> None:
    """Race, and print the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="ViT-B-32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--classes", type=int, default=10, help="that open_clip has to do")
    parser.add_argument(
        "--quick", action="store_true", help="ours are not all of the classes either"
    )
    parser.add_argument("--files", type=int, default=256)
    parser.add_argument("--out", type=Path, default=HERE.parent / "results" / "inference.json")
    parser.add_argument("--contest", help=argparse.SUPPRESS)
    parser.add_argument("--photos", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contest:
        sys.stdout.write(json.dumps(contest(options)) + "\n")
        return
    words = [f"--model={options.model}", f"--device={options.device}"]
    words += [f"--classes={options.classes}", *["--quick"] * options.quick]
    with tempfile.TemporaryDirectory() as photos:
        for number in range(options.files):
            Path(photos, f"{number:04}.jpg").write_bytes(jpeg(number, 433))
        words.append(f"--photos={photos}")
        names = (OURS, DEFAULT, BF16, COMPILED if options.device == "cuda" else INT8)
        contestants = {name: [f"--contest={name}", *words] for name in names}
        figures = race(str(HERE), contestants, options.rounds)
    print_figures(figures)
    for key in FIGURES:
        for other in (DEFAULT, BF16):
            sys.stdout.write(f"{key}: {spread(ratios(figures, key, OURS, other), 2)} x {other}\n")
    for other in (DEFAULT, BF16):
        faster = ratios(figures, "p50 ms", other, OURS)
        sys.stdout.write(f"p50: {spread(faster, 2)} x as fast as {other}\n")
    save(figures, options.out, "open_clip_torch", "transformers", settings=words[:-1])


if __name__ == "__main__":
    main()
