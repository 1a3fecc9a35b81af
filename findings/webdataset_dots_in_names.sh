#!/usr/bin/env bash
# webdataset 1.0.2, Python 3.11
#
# Expected: the files img_0.5.txt and img_0.7.txt of a tar are two samples.
# Happens: a sample's key ends at the first dot of the name, so they are one sample, img_0, with the
# fields "5.txt" and "7.txt"; no field is called "txt", and nothing is said.
#
# Seen:
#   img_0: 5.txt 7.txt
#   img_1: txt
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check webdataset==1.0.2 numpy==2.4.6

venv/bin/python - <<'PYTHON' | tee answer.txt
import io
import tarfile

import webdataset

with tarfile.open("pairs.tar", "w") as tar:
    for name in ("img_0.5.txt", "img_0.7.txt", "img_1.txt"):
        member = tarfile.TarInfo(name)
        member.size = 9
        tar.addfile(member, io.BytesIO(b"a caption"))
for sample in webdataset.WebDataset("pairs.tar", shardshuffle=False):
    fields = sorted(key for key in sample if not key.startswith("__"))
    print(f"{sample['__key__']}: {' '.join(fields)}")
PYTHON

diff answer.txt - <<'SEEN'
img_0: 5.txt 7.txt
img_1: txt
SEEN
