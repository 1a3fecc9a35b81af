"""Copy the colour emoji out of a corpus, so that a training run can count them more than once.

Run: python bench/emoji_share.py CORPUS OUT

Writes tars with those images of CORPUS/train that show an emoji in one of eight colour styles.
The embedded model was trained on `CORPUS/train` with OUT named five times beside it: these images
six times an epoch, the other icons once.
"""

import json
import sys
from pathlib import Path

from twinlens.data.webdataset.shards import ShardWriter, list_samples

STYLES = {
    "emojione",
    "fluent-emoji",
    "fluent-emoji-3d",
    "fluent-emoji-flat",
    "fxemoji",
    "noto",
    "noto-v1",
    "streamline-emojis",
}


def copy(corpus: Path, out: Path) -> int:
    """Copy the samples as they are; returns how many."""
    copied = 0
    with ShardWriter(out) as writer:
        for sample in list_samples(sorted((corpus / "train").glob("*.tar"))):
            about = json.loads(sample.read_member("json"))
            # An icon that only shares an emoji's name is of another style.
            if about["style"] in STYLES and "names" in about:
                writer.write(sample.key, {ext: sample.read_member(ext) for ext in sample.members})
                copied += 1
    return copied


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    corpus, out = map(Path, sys.argv[1:])
    if out.exists() and any(out.iterdir()):
        sys.exit(f"{out}: is not empty, expected a new folder")
    print(f"{out}: {copy(corpus, out):,} images")


if __name__ == "__main__":
    main()
