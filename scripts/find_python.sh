#!/bin/sh
# Prints the newest Python that can make our virtual environment: at least 3.11, and with `venv` and `ensurepip`
# (Debian keeps those two in a package of their own). Each candidate is run, since a name on PATH may be a mere shim.
set -u
newest=""
newest_minor=10
bare=""
for name in ${PYTHON:-python3.15 python3.14 python3.13 python3.12 python3.11 python3}; do
    path=$(command -v "$name") || continue
    minor=$("$path" -c 'import sys; print(sys.version_info[1] if sys.version_info[0] == 3 else 0)' 2>/dev/null) || continue
    [ "$minor" -ge 11 ] || continue
    if ! "$path" -c 'import ensurepip, venv' 2>/dev/null; then
        bare=$path
        continue
    fi
    if [ "$minor" -gt "$newest_minor" ]; then
        newest=$path
        newest_minor=$minor
    fi
done
if [ -n "$newest" ]; then
    echo "$newest"
    exit 0
fi
if [ -n "$bare" ]; then
    echo "$bare has no venv or ensurepip module: on Debian and Ubuntu run 'apt-get install python3-venv', then try again." >&2
else
    echo "No Python 3.11 or newer was found on PATH: install one ('apt-get install python3 python3-venv', 'brew install python'), or name it: make PYTHON=/path/to/python3." >&2
fi
exit 1
