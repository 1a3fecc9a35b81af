#!/usr/bin/env bash
# The environment of the tests that compare with open_clip, timm and torchvision:  install.sh VENV
#
# It has all that VENV has, and these. They stay out of VENV because the torchvision that PyPI has is
# built for another torch than ours: where it is installed its import fails, and with it that of
# everything that imports it where it is there, transformers and peft among them.
set -euo pipefail
venv=$(realpath "$1")
here=$(realpath "$(dirname "$0")")
peers=$venv/peers
"$venv/bin/python" -m venv --without-pip --clear "$peers"
packages=$("$peers/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
shared=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$venv/bin/pip" --python "$peers/bin/python" install --quiet --disable-pip-version-check \
  -c "$here/../../constraints.txt" --no-deps open_clip_torch timm torchvision
cp "$here/torchvision_operators.py" "$packages"
echo "import torchvision_operators; import site; site.addsitedir('$shared')" > "$packages/peers.pth"
touch "$peers/.installed"
