"""Draw the sample images of the package: six emoji of the style that no training image has.

    python bench/make_sample_images.py CACHE

CACHE is where `twinlens data icons` keeps its packages. Prints what it wrote; the images come
out the same byte for byte.
"""

import sys
from pathlib import Path

from twinlens.curate.icons.config import UNSEEN_STYLE
from twinlens.curate.icons.iconify import read_drawing, read_icon_sets, read_set_files
from twinlens.curate.icons.render import PLAIN_STYLE, render_svg, to_svg
from twinlens.curate.icons.sources import ICONIFY, fetch_package

NAMES = ("cat", "dog", "bicycle", "pizza", "guitar", "sailboat")
SIZE = 192
FOLDER = Path(__file__).resolve().parents[1] / "src" / "twinlens" / "assets" / "images"


def main() -> None:
    archive = fetch_package(ICONIFY, Path(sys.argv[1]))
    sets = {UNSEEN_STYLE: read_icon_sets(archive)[UNSEEN_STYLE]}
    ((_, data),) = read_set_files(archive, sets)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        path = FOLDER / f"{name}.png"
        image = render_svg(to_svg(read_drawing(data, name, is_coloured=True), PLAIN_STYLE, SIZE))
        image.save(path, optimize=True)
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
