#!/usr/bin/env bash
# ImageHash 4.3.2 with Pillow 13.0.0, Python 3.11
#
# Expected: a black disc and a black cross have different perceptual hashes, so that near duplicates
# can be taken out of a set of icons by them.
# Happens: on transparent ground, as icon sets come, both have the hash of zeros in all three kinds: the
# hidden colour under the transparency is black, too. On white they are 28 of 64 bits apart.
#
# Seen:
#   phash 0000000000000000 0000000000000000
#   dhash 0000000000000000 0000000000000000
#   average_hash 0000000000000000 0000000000000000
#   phash on white: 28 bits apart
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
  ImageHash==4.3.2 pillow==13.0.0 numpy==2.4.6 scipy==1.17.1 PyWavelets==1.9.0

venv/bin/python - <<'PYTHON' | tee answer.txt
import imagehash
from PIL import Image, ImageDraw

BLACK, CLEAR = (0, 0, 0, 255), (0, 0, 0, 0)
disc, cross = (Image.new("RGBA", (64, 64), CLEAR) for _ in range(2))
ImageDraw.Draw(disc).ellipse((8, 8, 56, 56), fill=BLACK)
ImageDraw.Draw(cross).line((8, 8, 56, 56), fill=BLACK, width=8)
ImageDraw.Draw(cross).line((8, 56, 56, 8), fill=BLACK, width=8)
for kind in (imagehash.phash, imagehash.dhash, imagehash.average_hash):
    print(kind.__name__, kind(disc), kind(cross))
on_white = [
    imagehash.phash(Image.alpha_composite(Image.new("RGBA", icon.size, "white"), icon))
    for icon in (disc, cross)
]
print(f"phash on white: {on_white[0] - on_white[1]} bits apart")
PYTHON

diff answer.txt - <<'SEEN'
phash 0000000000000000 0000000000000000
dhash 0000000000000000 0000000000000000
average_hash 0000000000000000 0000000000000000
phash on white: 28 bits apart
SEEN
