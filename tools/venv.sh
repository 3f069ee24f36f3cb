#!/bin/sh
# Make the environment: a Python that is new enough, and uv in it. Usage: venv.sh DIR UV_VERSION [PYTHON]
set -eu
dir=$1 uv_version=$2 wanted=${3:-}

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

python=
for candidate in ${wanted:-python3 python3.13 python3.12 python3.11 python3.14 python}; do
    if new_enough "$candidate"; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "payonce needs Python 3.11 or newer; ${wanted:-python3 and its kin} is missing or older." >&2
    echo "Install it (python.org, your system's packages, or pyenv), or name one: make PYTHON=/path/to/python3.12 ..." >&2
    exit 1
fi

echo "Setting up $dir with $("$python" --version) (once)" >&2
if ! "$python" -c 'import venv, ensurepip' >/dev/null 2>&1; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    echo "$python cannot make environments: its venv or ensurepip module is missing." >&2
    echo "On Debian or Ubuntu: apt-get install python$version-venv. Then run make again." >&2
    exit 1
fi
rm -rf "$dir"
"$python" -m venv "$dir"
if ! "$dir/bin/python" -m pip install --quiet --disable-pip-version-check "uv==$uv_version"; then
    rm -rf "$dir"
    echo "Could not install uv $uv_version with pip: see the message above (no network, or a proxy that pip does not know?)." >&2
    exit 1
fi
