"""Turns YAML text into a tree of nodes with their places, and gathers mistakes by line and column.

What YAML allows and nobody needs in a configuration is refused: aliases (a small file could stand for gigabytes), tags,
several documents, deep nesting.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import yaml

from codex_control.errors import BadConfig

MAX_DEPTH = 6
"""Levels that a file may have where its reader names no other number; the parser calls itself once for each."""
TAG = "tag:yaml.org,2002:"
# What an error carries over gRPC is bounded (rpc/statuses.py): a line that does not fit is better left out than cut.
_MAX_BYTES = 900


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake; line and column count from 1."""

    line: int
    column: int
    what: str
    fix: str = ""
    unknown_key: bool = False

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}: {self.what}" + (f" ({self.fix})" if self.fix else "")


class Mistakes(BadConfig):
    """The configuration has several mistakes; `why` has them, a line each, as far as an error's room goes."""

    def __init__(self, source: str, program: str, problems: tuple[Problem, ...]) -> None:
        self.source = source
        self.problems = problems
        """Unknown keys first, for a key that is missing or empty often is one that was written wrong; each in the
        order of the file."""
        shown = [str(problem) for problem in problems]
        while len("\n".join(shown).encode()) > _MAX_BYTES:
            shown.pop()
        left_out = len(problems) - len(shown)
        super().__init__(
            what=f"{source} has {len(problems)} mistakes",
            why="\n".join([*shown, *([f"and {left_out} more"] if left_out else [])]),
            next_step=f"see all with `{program} config check`" if left_out else "correct them, and try again",
        )

    def lines(self) -> list[str]:
        """One line for each."""
        return [f"{self.source}, {problem}" for problem in self.problems]


@dataclass
class Problems:
    """The mistakes found so far in `source`, which `program` reads."""

    source: str
    program: str = "codex-supervisor"
    found: list[Problem] = field(default_factory=list)

    def add(self, mark: Mark, what: str, fix: str = "", *, unknown_key: bool = False) -> None:
        """Note one mistake."""
        self.found.append(Problem(mark.line + 1, mark.column + 1, what, fix, unknown_key))

    def raise_if_any(self) -> None:
        """Raise `BadConfig` with each mistake once; do nothing where there are none."""
        problems = sorted(set(self.found), key=lambda problem: (not problem.unknown_key, problem))
        if not problems:
            return
        if len(problems) == 1:
            only = problems[0]
            raise BadConfig(
                what=f"{self.source}, line {only.line}, column {only.column}: {only.what}",
                next_step=only.fix or f"see `{self.program} config reference`",
            )
        raise Mistakes(self.source, self.program, tuple(problems))


@dataclass(frozen=True)
class Mark:
    """A place in the text; line and column count from 0."""

    line: int
    column: int


class Refused(Exception):
    """The text cannot be read any further."""

    def __init__(self, mark: Mark, what: str, fix: str = "") -> None:
        super().__init__(what)
        self.mark, self.what, self.fix = mark, what, fix


def mark_of(mark: yaml.Mark | None) -> Mark:
    """Return PyYAML's place as ours; the beginning where it knows none."""
    return Mark(mark.line, mark.column) if mark is not None else Mark(0, 0)


def compose(text: str, max_depth: int = MAX_DEPTH) -> yaml.Node | None:
    """Return the root node, None for an empty document; raise `Refused` for what is not YAML or not allowed."""
    try:
        composer = _Composer(text)
        composer.max_depth = max_depth
        try:
            return composer.get_single_node()
        finally:
            composer.dispose()
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        mark = Mark(before.count("\n"), error.position - (before.rfind("\n") + 1))
        raise Refused(mark, f"the character U+{error.character:04X} may not stand in YAML", "remove it") from error
    except yaml.MarkedYAMLError as error:
        raise Refused(*_explain(error)) from error
    except yaml.YAMLError as error:
        raise Refused(Mark(0, 0), f"this is not YAML: {error}") from error
    except (ValueError, OverflowError) as error:
        # PyYAML lets chr() fail for an escape such as "\UFFFFFFFF".
        raise Refused(Mark(0, 0), "an escape names a character that does not exist", "remove it") from error


def _explain(error: yaml.MarkedYAMLError) -> tuple[Mark, str, str]:
    mark = mark_of(error.problem_mark or error.context_mark)
    problem = error.problem or error.context or "this is not YAML"
    if "'\\t'" in problem:
        return mark, "a tab stands where YAML wants spaces", "indent with spaces"
    if "expected a single document" in (error.context or ""):
        return mark, "a second document begins", "remove the line `---`"
    if "mapping values are not allowed" in problem:
        return mark, "a second `:` stands in this line", "put the text in quotes, or begin a new line"
    context = f" {error.context}" if error.context else ""
    return mark, f"this is not YAML: {problem}{context}", "look at the line above too"


class _Composer(yaml.SafeLoader):
    """PyYAML's own composer, which builds nodes alone; nothing is constructed from them."""

    max_depth = MAX_DEPTH
    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise Refused(mark_of(event.start_mark), "anchors and aliases are not allowed", "write the value out")
        if getattr(event, "tag", None):
            raise Refused(mark_of(event.start_mark), f"the tag {event.tag[:80]!r} is not allowed", "remove it")
        if self._depth >= self.max_depth:
            raise Refused(mark_of(event.start_mark), "this is nested too deeply", "see the reference")
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1
