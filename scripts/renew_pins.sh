#!/bin/sh
# Writes constraints.txt and constraints-build.txt anew with the newest versions that pyproject.toml allows, found by
# installing them into empty environments. The comments at the files' heads stay.
set -eu
cd "$(dirname "$0")/.."
python=$(scripts/find_python.sh)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

renew() { # FILE, then what pip is to install
    file=$1
    shift
    rm -rf "$scratch/venv"
    "$python" -m venv "$scratch/venv"
    "$scratch/venv/bin/python" -m pip install --quiet --upgrade pip
    # Older Pythons put one in unasked; what really needs it brings it.
    "$scratch/venv/bin/python" -m pip uninstall --quiet --yes setuptools
    "$scratch/venv/bin/python" -m pip install --quiet "$@"
    {
        grep '^#' "$file"
        "$scratch/venv/bin/python" -m pip freeze --all --exclude-editable
    } >"$scratch/pins"
    cat "$scratch/pins" >"$file"
}

renew constraints.txt --group dev --editable '.[codex,demo,mcp]'
renew constraints-build.txt --group build
