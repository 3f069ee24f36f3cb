#!/bin/sh
# Build the wheel, install it alone into an empty environment elsewhere, and run its demo there.
# Usage: UV="path of uv" wheel.sh PYTHON
set -eu
python=$1
elsewhere=$(mktemp -d)
trap 'rm -rf "$elsewhere"' EXIT INT TERM

$UV build --quiet --wheel --out-dir "$elsewhere/dist"
"$python" -m venv "$elsewhere/venv"
"$elsewhere/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$elsewhere"/dist/*.whl
echo "the demo of $(basename "$elsewhere"/dist/*.whl), installed alone:"
cd "$elsewhere"
env -i PATH="$elsewhere/venv/bin" HOME="$elsewhere" TMPDIR="$elsewhere" payonce demo --exit
