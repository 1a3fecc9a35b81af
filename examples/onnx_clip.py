"""Tell what a picture shows, from files that `twinlens export` wrote: no torch, no twinlens.

Run: twinlens export icons exported --format onnx
     pip install onnxruntime numpy pillow tokenizers
     python examples/onnx_clip.py exported cat.png "cat,dog,bicycle"

All that is known of the model is in `exported/twinlens.json`, which each file's metadata repeats.
"""

import html
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps
from tokenizers import Tokenizer


def pixels(path: str, wanted: dict) -> np.ndarray:
    """A picture as the image tower reads it: float32 [1, 3, size, size]."""
    size, background = wanted["image_size"], (*wanted["background"], 255)
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, background), image).convert("RGB")
    short, squash = min(image.size), wanted["resize"] == "squash"
    width, height = (
        size if squash or side == short else int(size * side / short) for side in image.size
    )
    image = image.resize(
        (width, height), getattr(Image.Resampling, wanted["interpolation"].upper())
    )
    left, top = round((width - size) / 2), round((height - size) / 2)
    image = image.crop((left, top, left + size, top + size))
    scaled = np.asarray(image, np.float32) / 255
    normal = (scaled - np.float32(wanted["mean"])) / np.float32(wanted["std"])
    return normal.transpose(2, 0, 1)[None]


def tokens(texts: list[str], directory: Path, text: dict) -> np.ndarray:
    """Texts as the text tower reads them: int64 [text, context_length]."""
    if text["cleaning"] not in ("lower", "none"):
        sys.exit(f"cleaning: got {text['cleaning']}, which twinlens.texts.cleaned would show")
    if text["cleaning"] == "lower":  # twinlens also mends what was decoded wrongly, with ftfy
        texts = [" ".join(html.unescape(text).lower().split()) for text in texts]
    tokenizer = Tokenizer.from_file(str(directory / text["tokenizer"]["file"]))
    return np.array([row.ids for row in tokenizer.encode_batch(texts)], np.int64)


def embed(directory: Path, tower: dict, inputs: np.ndarray) -> np.ndarray:
    """Unit vectors, float32 [batch, embed_dim]."""
    session = onnxruntime.InferenceSession(str(directory / tower["file"]))
    return session.run([tower["output"]], {tower["input"]: inputs})[0]


def main() -> None:
    directory, picture, labels = Path(sys.argv[1]), sys.argv[2], sys.argv[3].split(",")
    model = json.loads((directory / "twinlens.json").read_text(encoding="utf-8"))
    texts = [sentence.replace("{}", label) for label in labels for sentence in model["templates"]]
    image = embed(directory, model["image"], pixels(picture, model["image"]["preprocess"]))
    each = embed(directory, model["text"], tokens(texts, directory, model["text"]))
    mean = each.reshape(len(labels), -1, model["embed_dim"]).mean(axis=1)
    [cosines] = image @ (mean / np.linalg.norm(mean, axis=1, keepdims=True)).T
    odds = np.exp(model["logit_scale"] * (cosines - cosines.max()))
    for label, cosine, odd in zip(labels, cosines, odds / odds.sum(), strict=True):
        print(f"{odd:8.4%}  {cosine:.6f}  {label}")


if __name__ == "__main__":
    main()
