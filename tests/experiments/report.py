"""What an experiment found out: printed, and written below build/experiments/."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.codex_home import REPOSITORY

FOLDER = REPOSITORY / "build" / "experiments"


@dataclass
class Report:
    """One experiment."""

    name: str
    question: str
    lines: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def say(self, line: str = "") -> None:
        """Add a line of Markdown."""
        self.lines.append(line)

    def table(self, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Add a table."""
        self.say("| " + " | ".join(head) + " |")
        self.say("| " + " | ".join("---" for _ in head) + " |")
        for row in rows:
            self.say("| " + " | ".join(str(cell) for cell in row) + " |")
        self.say()

    def check(self, holds: bool, claim: str) -> str:
        """`yes` where the claim holds; else a failure is noted."""
        if not holds:
            self.failures.append(claim)
        return "yes" if holds else "**no**"

    def write(self) -> Path:
        """Write the report; its place."""
        FOLDER.mkdir(parents=True, exist_ok=True)
        path = FOLDER / f"{self.name.partition(':')[0]}.md"
        path.write_text(self.text())
        return path

    def text(self) -> str:
        """The whole report as Markdown."""
        found = "\n".join(f"- FAILED: {failure}" for failure in self.failures) or "All claims hold."
        return f"# {self.name}\n\n{self.question}\n\n" + "\n".join(self.lines).rstrip() + f"\n\n{found}\n"
