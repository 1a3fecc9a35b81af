"""Tell what an image shows, from files that `twinlens export` wrote: no torch, no twinlens.

Run: twinlens export icons exported --format onnx
     pip install onnxruntime numpy pillow tokenizers
     python examples/onnx_clip.py exported cat.png "cat,dog,bicycle"

All that is known of the model is in `exported/twinlens.json`. Not here: EXIF orientation, entities
of HTML and broken Unicode in labels, and cleaning of other kinds than CLIP's (`text.cleaning`).
"""

import json
import sys
from pathlib import Path

import numpy as np
from onnxruntime import InferenceSession
from PIL import Image
from tokenizers import Tokenizer

directory, image_path, labels = Path(sys.argv[1]), sys.argv[2], sys.argv[3].split(",")
model = json.loads((directory / "twinlens.json").read_text(encoding="utf-8"))
text, wanted = model["text"], model["image"]["preprocess"]
if text["cleaning"] != "lower":
    sys.exit(
        f"cleaning: got {text['cleaning']}, expected lower: see twinlens.text.cleaning for others"
    )

image, size = Image.open(image_path).convert("RGBA"), wanted["image_size"]
below = Image.new("RGBA", image.size, (*wanted["background"], 255))
image, short = Image.alpha_composite(below, image).convert("RGB"), min(image.size)
sides = [size if wanted["resize"] == "squash" else int(size * s / short) for s in image.size]
image = image.resize(sides, getattr(Image.Resampling, wanted["interpolation"].upper()))
left, top = (round((side - size) / 2) for side in sides)
pixels = np.float32(image.crop((left, top, left + size, top + size))) / 255
pixels = ((pixels - np.float32(wanted["mean"])) / np.float32(wanted["std"])).transpose(2, 0, 1)

sentences = [t.replace("{}", label) for label in labels for t in model["templates"]]
tokenizer = Tokenizer.from_file(str(directory / text["tokenizer"]["file"]))
rows = tokenizer.encode_batch([" ".join(sentence.lower().split()) for sentence in sentences])
vectors = []
for name, inputs in (("image", pixels[None]), ("text", np.array([row.ids for row in rows]))):
    session = InferenceSession(str(directory / model[name]["file"]))
    vectors += session.run(None, {model[name]["input"]: inputs})
means = vectors[1].reshape(len(labels), -1, model["embed_dim"]).mean(axis=1)
cosines = vectors[0][0] @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T
odds = np.exp(model["logit_scale"] * (cosines - cosines.max()))
for label, cosine, share in zip(labels, cosines, odds / odds.sum(), strict=True):
    print(f"{share:8.4%}  {cosine:.6f}  {label}")
