"""Draw the sample images of the package: six emoji of the style that no training image has.

    python bench/make_sample_images.py CACHE

CACHE is where `twinlens data icons` keeps its packages. Prints what it wrote; the images come
out the same byte for byte.
"""

import sys
from pathlib import Path

from twinlens.curate.icons.config import UNSEEN_STYLE
from twinlens.curate.icons.iconify import drawing, read_collection, read_sets
from twinlens.curate.icons.render import PLAIN, render, svg
from twinlens.curate.icons.sources import ICONIFY, fetch

NAMES = ("cat", "dog", "bicycle", "pizza", "guitar", "sailboat")
SIZE = 192
FOLDER = Path(__file__).resolve().parents[1] / "src" / "twinlens" / "assets" / "images"


def main() -> None:
    archive = fetch(ICONIFY, Path(sys.argv[1]))
    sets = {UNSEEN_STYLE: read_collection(archive)[UNSEEN_STYLE]}
    ((_, data),) = read_sets(archive, sets)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        path = FOLDER / f"{name}.png"
        image = render(svg(drawing(data, name, coloured=True), PLAIN, SIZE))
        image.save(path, optimize=True)
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
