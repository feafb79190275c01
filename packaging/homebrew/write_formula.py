"""Fills in Homebrew's formula for a source archive: `write_formula.py ARCHIVE --out FILE [--url URL]`.

Without `--url` the formula takes the archive from where it lies, which is enough to try it out.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from pathlib import Path

TEMPLATE = Path(__file__).with_name("codex-supervisor.rb")


def filled_formula(archive: Path, url: str, homepage: str) -> str:
    """Return the formula. Raises `KeyError` for a place in it that is not known."""
    values = {"URL": url, "HOMEPAGE": homepage, "SHA256": hashlib.sha256(archive.read_bytes()).hexdigest()}
    if any(set(value) & set('"\\#\n') for value in values.values()):
        raise SystemExit("an address must hold no quotes, backslashes, line feeds or hash signs")
    return re.sub(r"@([A-Z0-9]+)@", lambda place: values[place[1]], TEMPLATE.read_text(encoding="utf-8"))


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--url", default="")
    parser.add_argument("--homepage", default="", help="the address of the archive where absent")
    given = parser.parse_args()
    archive = given.archive.resolve(strict=True)
    url = given.url or archive.as_uri()
    given.out.write_text(filled_formula(archive, url, given.homepage or url), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
