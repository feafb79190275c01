"""Writes the pages and dashboards that come from the sources, or with `--check` says which are not current.

Run it as `python -m scripts.generate_docs`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from codex_gateway.config.reference import config_reference as gateway_config_reference
from codex_supervisor.config.reference import config_reference
from codex_supervisor.metrics import metrics_reference
from codexctl.json_schema import printed_schema

from deploy.grafana.dashboards import dashboards

ROOT = Path(__file__).resolve().parents[1]

PAGES: dict[str, Callable[[], str]] = {
    "docs/configuration.md": config_reference,
    "docs/gateway-configuration.md": gateway_config_reference,
    "docs/metrics.md": metrics_reference,
    "docs/codexctl.schema.json": lambda: json.dumps(printed_schema(), indent=1) + "\n",
}
"""Files by their path in the repository."""


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail where a page is not current")
    check = parser.parse_args().check
    stale = []
    texts = {name: page() for name, page in PAGES.items()}
    texts |= {f"deploy/grafana/{name}": text for name, text in dashboards().items()}
    for name, text in texts.items():
        file = ROOT / name
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            stale.append(name)
            if not check:
                file.write_text(text, encoding="utf-8")
    for name in stale:
        print(f"{name} is not current: run make docs" if check else f"{name} written", file=sys.stderr)
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
