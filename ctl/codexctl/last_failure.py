"""Why the service ended by itself, read from its log: without the service nobody else can say it."""

from __future__ import annotations

from codex_control.paths import Paths

LOG_NAME = "supervisor.log"
"""As `codex_control.service.logs.log_file` has it, whose imports a short command does without."""
_MAX_BYTES = 256 * 1024
_FAILURES = frozenset({"stopped_by_failure", "task_failed"})


def last_failure(paths: Paths, *, of_the_one_before: bool = False) -> str:
    """When and with what the service ended by itself; empty where it was told to end, or nothing is known.

    `of_the_one_before` asks for the end of the run before the present one.
    """
    import json

    from codex_control.safe_text import one_line

    waits_for_ready = of_the_one_before
    for line in reversed(_last_lines(paths)):
        try:
            record = json.loads(line)
            at, event = str(record["at"]), str(record["event"])
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
        if event in ("ready", "stopping"):
            if event == "ready" and waits_for_ready:
                waits_for_ready = False
            elif event == "ready" or record.get("because") != "failure":
                return ""
        elif event in _FAILURES and not waits_for_ready:
            return f"it ended by itself at {one_line(at[:19], 19)}Z: {one_line(str(record.get('error', event)), 300)}"
    return ""


def was_told_to_end(paths: Paths) -> bool:
    """Whether somebody ended the service, and it has not been started since."""
    import json

    for line in reversed(_last_lines(paths)):
        try:
            record = json.loads(line)
            event = record["event"]
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
        if event in ("ready", "stopping"):
            return bool(event == "stopping" and record.get("because") == "told to")
    return False


def log_hint(paths: Paths) -> str:
    """Where its log is, as the end of a sentence; empty where there is none."""
    log = paths.log_dir / LOG_NAME
    return f"; its log is {log}" if log.is_file() else ""


def _last_lines(paths: Paths) -> list[bytes]:
    try:
        with (paths.log_dir / LOG_NAME).open("rb") as log:
            log.seek(max(0, log.seek(0, 2) - _MAX_BYTES))
            return log.read(_MAX_BYTES).splitlines()
    except OSError:
        return []
