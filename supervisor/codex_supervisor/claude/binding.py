"""Whose instance is it? Pure: a book of what every instance has of Claude Code, and what a message changes in it.

An instance belongs to a process, not to a session id:

- a process that shows another session (`/clear`) keeps its instance, and the session is the instance's from then on;
- a session that is shown again (`--continue`, `--resume`) leads to its instance, in whatever process;
- two processes share an instance only while both show the same session. Otherwise the later one gets a new instance:
  what one session asked is never seen by another.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from codex_supervisor.store.records import LeaseRecord

MAX_SESSIONS = 50
"""Session ids kept of one instance, the latest: each `/clear` adds one."""

NEW = ""
"""Key of an instance that is still to be made, in the changes of a decision."""


class Source(enum.Enum):
    """How a session came to be shown; Claude Code's own words."""

    STARTUP = "startup"
    RESUME = "resume"
    CLEAR = "clear"
    COMPACT = "compact"


@dataclass(frozen=True, slots=True)
class Holding:
    """What one instance has of Claude Code: its session ids, the latest last, and the processes, gone ones included."""

    sessions: tuple[str, ...] = ()
    leases: tuple[LeaseRecord, ...] = ()

    def living(self) -> tuple[LeaseRecord, ...]:
        """The leases of processes that were there when last seen."""
        return tuple(lease for lease in self.leases if lease.gone_ns is None)

    def is_left(self) -> bool:
        """Whether every process that it belonged to is gone: its grace runs."""
        return bool(self.leases) and not self.living()


Book = Mapping[str, Holding]
"""Holdings by the instance's id."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A decision: the instance (`NEW` for one to be made), and the holdings that are different now."""

    instance: str
    changes: dict[str, Holding] = field(default_factory=dict)


def same_process(one: LeaseRecord, other: LeaseRecord) -> bool:
    """Whether two leases are of one process."""
    return (one.boot_id, one.pid, one.start_time) == (other.boot_id, other.pid, other.start_time)


def bind(book: Book, shown: LeaseRecord, source: Source, *, used: Callable[[str], bool]) -> Bound:
    """Decide which instance the session and process of `shown` have from now on.

    `used` says whether an instance has had a turn: an unused one may become another session's, for nothing is in it.
    """
    instance = _instance_of(book, shown, source, used)
    changes: dict[str, Holding] = {}
    for name, holding in book.items():
        if name != instance:
            kept = _without(holding, shown)
            if kept != holding:
                changes[name] = kept
    before = book.get(instance, Holding())
    after = _with(before, shown)
    if after != before:
        changes[instance] = after
    return Bound(instance, changes)


def _instance_of(book: Book, shown: LeaseRecord, source: Source, used: Callable[[str], bool]) -> str:
    owner = next((name for name, holding in book.items() if shown.session in holding.sessions), None)
    held = holder_of(book, shown)
    if owner is not None:
        found = owner
    elif held is None or (source is Source.RESUME and used(held)):
        # A session from before the service knew it: nothing of the one that the process showed so far is its own.
        return NEW
    else:
        found = held
    others = {lease.session for lease in book[found].living() if not same_process(lease, shown)}
    return NEW if others - {shown.session} else found


def holder_of(book: Book, process: LeaseRecord) -> str | None:
    """Return the instance whose living process this is, or None."""
    for name, holding in book.items():
        if any(same_process(lease, process) for lease in holding.living()):
            return name
    return None


def gone(holding: Holding, process: LeaseRecord, now_ns: int) -> Holding:
    """Return what the instance has once this process is gone."""
    return Holding(
        holding.sessions,
        tuple(
            msgspec.structs.replace(lease, gone_ns=now_ns)
            if lease.gone_ns is None and same_process(lease, process)
            else lease
            for lease in holding.leases
        ),
    )


def _with(holding: Holding, shown: LeaseRecord) -> Holding:
    known = next((lease for lease in holding.living() if same_process(lease, shown)), None)
    lease = shown if known is None else msgspec.structs.replace(known, session=shown.session)
    sessions = (*(session for session in holding.sessions if session != shown.session), shown.session)
    # Those that are gone have done their part: somebody is there again.
    others = tuple(other for other in holding.living() if not same_process(other, shown))
    return Holding(sessions[-MAX_SESSIONS:], (*others, lease))


def _without(holding: Holding, shown: LeaseRecord) -> Holding:
    """Take a session, and a process that shows another one now, from an instance that is not theirs any more."""
    left = gone(holding, shown, shown.bound_ns)
    return Holding(tuple(session for session in left.sessions if session != shown.session), left.leases)
