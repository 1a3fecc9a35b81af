"""Copy the colour emoji out of a corpus, so that a training run can count them more than once.

Run: python bench/emoji_share.py CORPUS OUT

Writes tars with those images of CORPUS/train that show an emoji in one of eight colour styles.
The embedded model was trained on `CORPUS/train` with OUT named five times beside it: these images
six times an epoch, the other icons once.
"""

import json
import sys
from pathlib import Path

from twinlens.data.left_out import LeftOut
from twinlens.data.webdataset.shards import ShardSample, list_samples, write_shard

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


SAMPLES_PER_SHARD = 2048


def is_colour_emoji(sample: ShardSample) -> bool:
    """True for an emoji; an icon that only shares an emoji's name is of another style."""
    about = json.loads(sample.read_member("json"))
    return about["style"] in STYLES and "names" in about


def copy(corpus: Path, out: Path) -> int:
    """Copy the samples as they are; returns how many."""
    tars = sorted((corpus / "train").glob("*.tar"))
    samples = [sample for tar in tars for sample in list_samples(tar, LeftOut())]
    chosen = list(filter(is_colour_emoji, samples))
    out.mkdir(parents=True, exist_ok=True)
    for shard, start in enumerate(range(0, len(chosen), SAMPLES_PER_SHARD)):
        some = chosen[start : start + SAMPLES_PER_SHARD]
        copies = ((one.key, {ext: one.read_member(ext) for ext in one.members}) for one in some)
        write_shard(out / f"{shard:05d}.tar", copies)
    return len(chosen)


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    corpus, out = map(Path, sys.argv[1:])
    if out.exists() and any(out.iterdir()):
        sys.exit(f"{out}: is not empty, expected a new folder")
    print(f"{out}: {copy(corpus, out):,} images")


if __name__ == "__main__":
    main()
