"""A ViT-L/14 from disk to memory: ours and open_clip's, in turn, each in a process of its own.

Run: python bench/load.py [--rounds 5] [--out bench/results/load.json]

Makes one directory of random float32 weights that both open. A round is one fresh process a
contestant: seconds from the call to a model that can be asked, the process's largest memory in
that time, and what one image and one text take afterwards, which is when mapped weights are read.
Files are in the page cache for all.
"""

import argparse
import json
import tempfile
from pathlib import Path

from contest import peak_mib, print_figures, race, save

HERE = Path(__file__).resolve()
CONTESTANTS = ("twinlens", "twinlens, text tower", "open_clip")


def make_directory(directory: Path) -> None:
    """A ViT-L/14 in open_clip's layout."""
    import torch  # noqa: PLC0415

    from twinlens.checkpoints.writer import write_open_clip  # noqa: PLC0415
    from twinlens.model import presets  # noqa: PLC0415
    from twinlens.model.clip import CLIP  # noqa: PLC0415

    torch.manual_seed(0)
    write_open_clip(CLIP(presets.vit_l_14()), directory)


def contest(name: str, directory: Path) -> dict[str, float]:
    """One contestant's figures; runs in a process of its own."""
    import time  # noqa: PLC0415

    import torch  # noqa: PLC0415

    image, tokens = torch.zeros(1, 3, 224, 224), torch.zeros(1, 77, dtype=torch.long)
    tokens[0, :3] = torch.tensor([49406, 320, 49407])
    if name == "open_clip":
        import open_clip  # noqa: PLC0415

        before, start = peak_mib(), time.perf_counter()
        model = open_clip.create_model(f"local-dir:{directory}")
    else:
        import twinlens  # noqa: PLC0415
        import twinlens.embed.embedder  # noqa: PLC0415

        towers = "text" if "text" in name else "both"
        before, start = peak_mib(), time.perf_counter()
        model = twinlens.load(directory, precision="fp32", towers=towers).model
    loaded, peak = time.perf_counter(), peak_mib()
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    with torch.inference_mode():
        model.encode_text(tokens)
        if "text" not in name:
            model.encode_image(image)
    return {
        "load_s": loaded - start,
        "first_answer_s": time.perf_counter() - loaded,
        "before_mib": before,
        "peak_mib": peak,
        "peak_after_answer_mib": peak_mib(),
        "weights_mib": weights / 2**20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("bench/results/load.json"))
    parser.add_argument("--contest", help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contest:
        print(json.dumps(contest(options.contest, options.directory)))
        return
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "vit-l-14"
        make_directory(directory)
        words = [f"--directory={directory}", "--contest"]
        figures = race(str(HERE), {name: [*words, name] for name in CONTESTANTS}, options.rounds)
    print_figures(figures)
    save(figures, options.out, "open_clip_torch", "safetensors")


if __name__ == "__main__":
    main()
