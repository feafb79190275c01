"""Writes the reference pages that come from the sources, or with `--check` says which are not current."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from codex_supervisor.config_reference import config_reference
from codex_supervisor.metrics import metrics_reference
from codexctl.json_schema import printed_schema

DOCS = Path(__file__).resolve().parents[1] / "docs"

PAGES: dict[str, Callable[[], str]] = {
    "configuration.md": config_reference,
    "metrics.md": metrics_reference,
    "codexctl.schema.json": lambda: json.dumps(printed_schema(), indent=1) + "\n",
}


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail where a page is not current")
    check = parser.parse_args().check
    stale = []
    for name, page in PAGES.items():
        file = DOCS / name
        text = page()
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            stale.append(name)
            if not check:
                file.write_text(text, encoding="utf-8")
    for name in stale:
        print(f"docs/{name} is not current: run make docs" if check else f"docs/{name} written", file=sys.stderr)
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
