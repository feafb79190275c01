"""Says in one sentence what the supervisor decided and why, from the log record of it. Pure.

The log is the one source: what is in it can be told, and what is told can be looked up there by its time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from codex_supervisor.log_reading import LogLine

Fields = Mapping[str, str]

_TOLD_ALWAYS = ("warning", "error", "critical")
# What the generic sentence leaves out: shown elsewhere on the line, or of use to programmers alone.
_LEFT_OUT = ("instance", "logger", "traceback")


def sentence_of(line: LogLine) -> str | None:
    """Return the sentence for a record, or None for one that tells of no decision.

    Records that are not known here are told too where they are warnings or worse, or are written as sentences: what
    goes wrong is never left out.
    """
    if line.at_ns is None or line.level == "debug":
        return None
    known = _SENTENCES.get(line.message)
    if known is not None:
        return known(line.fields)
    if line.level in _TOLD_ALWAYS or " " in line.message:
        return _generic(line)
    return None


def _generic(line: LogLine) -> str:
    fields = {name: value for name, value in line.fields.items() if name not in _LEFT_OUT}
    reason = fields.pop("why", "") or fields.pop("error", "")
    more = " ".join(f"{name}={value}" for name, value in fields.items())
    # A name has no space; in a sentence, "_" is part of a path.
    what = line.message if " " in line.message else line.message.replace("_", " ")
    return what + (f": {reason}" if reason else "") + (f" ({more})" if more else "")


# --- instances ------------------------------------------------------------------------------------------------------


def _state_changed(fields: Fields) -> str:
    was, state = fields.get("was", ""), fields.get("state", "")
    change = state if was == state else f"{was} -> {state}"
    parts = [_cause(fields, was), _consequence(fields, state)]
    return f"{change}: {'; '.join(part for part in parts if part)}"


def _cause(fields: Fields, was: str) -> str:
    why = fields.get("why", "").rstrip(".")
    match fields.get("because"):
        case "StartWanted":
            return "somebody wants it up"
        case "StopWanted":
            return "somebody wants it down"
        case "RestartWanted":
            return "somebody wants a new child"
        case "HibernateWanted":
            return "it is idle, and its memory is wanted"
        case "TurnAccepted":
            return "a turn was accepted"
        case "TurnFound":
            return "the journal holds a turn without an outcome"
        case "TurnOver":
            return "the turn is over"
        case "CancelWanted":
            return "the turn was cancelled"
        case "ChildReady":
            return "the child is ready"
        case "ChildAdopted":
            return "the running child was adopted"
        case "ChildDied":
            return f"the child died ({why})" if why else "the child died"
        case "StartRefused":
            return f"no start can work ({why})" if why else "no start can work"
        case "StartDeferred":
            return f"no child can be started yet ({why})" if why else "no child can be started yet"
        case "TreeGone":
            return "everything that the child had started is gone"
        case "RecycleWanted":
            return "the child is to make room for a new one"
        case "Tick":
            return {"ready": "it was idle", "backoff": "the wait is over", "failed": "it has cooled down"}.get(was, "")
        case other:
            return other or ""


def _consequence(fields: Fields, state: str) -> str:
    turn, then = fields.get("turn", ""), fields.get("then", "")
    carried = f" and carries turn {turn} on" if turn else ""
    match state:
        case "starting":
            return f"child {fields.get('attempt', '')} is started{carried}"
        case "backoff":
            return f"the next child is started in {_seconds(fields.get('wait_s'))}{carried}"
        case "busy" if then:
            return f"when turn {turn} is over, {_THEN.get(then, then)}"
        case "busy":
            return f"turn {turn} runs"
        case "stopping":
            return f"the child is ended, then {_THEN.get(then, then)}"
        case "failed" if "wait_s" in fields:
            return f"it is tried again in {_seconds(fields['wait_s'])}, or by `codexctl restart`"
        case "failed":
            return "it stays so until `codexctl restart`"
        case _:
            return ""


_THEN = {"stopped": "it stays down", "restart": "a new one is started", "hibernated": "it sleeps until the next ask"}

_HIBERNATION_REASONS = {
    "max_awake": "more children are awake than instances.max_awake allows",
    "memory": "memory is short",
    "claude_ended": "its Claude Code session has ended",
}


def _hibernated(fields: Fields) -> str:
    because = fields.get("because", "")
    return f"the idle child is hibernated: {_HIBERNATION_REASONS.get(because, because)}"


def _claude_bound(fields: Fields) -> str:
    return f"it belongs to Claude Code process {fields.get('pid', '')} ({fields.get('source', '')})"


def _claude_gone(fields: Fields) -> str:
    grace = fields.get("grace_s", "")
    return f"its Claude Code process {fields.get('pid', '')} is gone; without another one it hibernates in {grace} s"


def _claude_session_ended(fields: Fields) -> str:
    return f"Claude Code says that its session ended: {fields.get('reason', '').replace('_', ' ')}"


def _memory_exceeded(fields: Fields) -> str:
    held, limit = _mib(fields.get("memory_bytes")), _mib(fields.get("limit_bytes"))
    return f"the child holds {held}, the limit is {limit} (instances.memory_limit): it is ended between turns"


def _probe_missed(fields: Fields) -> str:
    return f"the child did not answer a probe ({fields.get('error', 'no reason given')})"


def _queue_full(fields: Fields) -> str:
    return f"a turn was refused: {fields.get('limit', 'too many')} wait already (turns.queue_limit)"


def _child_adopted(fields: Fields) -> str:
    return f"the child of the earlier supervisor runs on (pid {fields.get('pid', '?')}) and was adopted"


def _child_not_adopted(fields: Fields) -> str:
    return f"the child of the earlier supervisor was not adopted, and is proven gone: {fields.get('error', '')}"


def _processes_left(fields: Fields) -> str:
    which = fields.get("pids") or fields.get("processes", "")
    return f"processes of the child outlive their end, which is tried again: {which}"


# --- turns ----------------------------------------------------------------------------------------------------------


def _turn_ended(fields: Fields) -> str:
    cause = fields.get("cause", "")
    outcome = fields.get("outcome", "ended") + (f" ({cause})" if cause else "")
    return f"turn {fields.get('turn', '')} {outcome} after {_seconds(fields.get('total_s'))}"


_RECOVERY_ACTIONS = {
    "continue": "it goes on from what the thread kept",
    "replay": "it is taken back and sent again",
    "report": "it ends here and is reported",
}


def _turn_recovered(fields: Fields) -> str:
    action = fields.get("action", "")
    done = f"{fields.get('commands', '0')} commands, {fields.get('files', '0')} files so far"
    took = fields.get("took_s", "null")
    took = "" if took == "null" else f"; {_seconds(took)} after the death"
    why = fields.get("why") or "the child died"
    return f"turn {fields.get('turn', '')}: {why}; {_RECOVERY_ACTIONS.get(action, action)} ({done}{took})"


def _turn_stalled(fields: Fields) -> str:
    then = "it is interrupted" if fields.get("action") == "interrupt" else "it goes on, and its followers are warned"
    return f"turn {fields.get('turn', '')} gave no sign of life for {_seconds(fields.get('quiet_s'))}: {then}"


_DECISIONS = {
    "accept": "allowed",
    "accept_for_session": "allowed for the session",
    "decline": "refused",
    "cancel": "refused, and the turn ended",
}
_DECIDERS = {
    "person": "by a person",
    "policy": "by policy (approvals.policy)",
    "timeout": "because nobody answered in time (approvals.timeout)",
    "nobody_attached": "because nobody was attached to answer",
}


def _approval_answered(fields: Fields) -> str:
    decision, by = fields.get("decision", ""), fields.get("by", "")
    answer = f"{_DECISIONS.get(decision, decision)} {_DECIDERS.get(by, by)}"
    return f"turn {fields.get('turn', '')}: Codex asked, and was {answer}"


# --- the supervisor -------------------------------------------------------------------------------------------------


def _ready(fields: Fields) -> str:
    known = f"{fields.get('instances', '0')} instances known"
    return f"the supervisor {fields.get('version', '')} is ready (pid {fields.get('pid', '?')}; {known})"


def _stopping(fields: Fields) -> str:
    if fields.get("because") == "replacement":
        return "the supervisor makes way for the installed version; children and turns go on"
    if fields.get("because") == "failure":
        return "the supervisor ends because of a failure; running turns go on when it is started again"
    return "the supervisor was told to stop; running turns go on when it is started again"


def _stopped_by_failure(fields: Fields) -> str:
    return f"the supervisor failed and ends; children run on, to be adopted: {fields.get('error', '')}"


def _task_failed(fields: Fields) -> str:
    job = f" ({fields['task']})" if fields.get("task") else ""
    return f"an internal job failed: {fields.get('error', 'no reason given')}{job}"


def _degraded(fields: Fields) -> str:
    return f"degraded ({fields.get('what', '')}): {fields.get('why', '')}"


def _mended(fields: Fields) -> str:
    return f"no longer degraded ({fields.get('what', '')})"


def _reloaded(fields: Fields) -> str:
    applied, waiting = _names(fields.get("applied")), _names(fields.get("needs_restart"))
    later = f"; waits for a restart: {waiting}" if waiting else ""
    return f"the configuration was read again; applied: {applied or 'nothing new'}{later}"


def _reload_refused(fields: Fields) -> str:
    return f"the configuration was not taken, the present one stays: {fields.get('why', '')}"


def _drain_began(fields: Fields) -> str:
    return f"draining: no new turns are accepted; {fields.get('turns', '0')} have not ended"


def _drain_ended(_: Fields) -> str:
    return "the drain was ended: new turns are accepted"


def _instance_deleted(_: Fields) -> str:
    return "the instance was deleted with its history"


def _instance_forgotten(_: Fields) -> str:
    return "Claude Code is gone and asked nothing: the instance was forgotten"


_SENTENCES: Mapping[str, Callable[[Fields], str]] = {
    "approval_answered": _approval_answered,
    "claude_bound": _claude_bound,
    "claude_gone": _claude_gone,
    "claude_session_ended": _claude_session_ended,
    "child_adopted": _child_adopted,
    "child_not_adopted": _child_not_adopted,
    "degraded": _degraded,
    "drain_began": _drain_began,
    "drain_ended": _drain_ended,
    "hibernated": _hibernated,
    "instance_deleted": _instance_deleted,
    "instance_forgotten": _instance_forgotten,
    "memory_exceeded": _memory_exceeded,
    "mended": _mended,
    "probe_missed": _probe_missed,
    "processes_left": _processes_left,
    "queue_full": _queue_full,
    "ready": _ready,
    "reload_refused": _reload_refused,
    "reloaded": _reloaded,
    "state_changed": _state_changed,
    "stopped_by_failure": _stopped_by_failure,
    "stopping": _stopping,
    "task_failed": _task_failed,
    "turn_ended": _turn_ended,
    "turn_recovered": _turn_recovered,
    "turn_stalled": _turn_stalled,
}


# --- values as they stand in records --------------------------------------------------------------------------------


def _seconds(text: str | None) -> str:
    try:
        seconds = float(text or "")
    except ValueError:
        return "an unknown time"
    return f"{seconds:.3g} s" if abs(seconds) < 100 else f"{seconds:.0f} s"


def _mib(text: str | None) -> str:
    try:
        return f"{int(text or '') / 2**20:.0f} MiB"
    except ValueError:
        return "an unknown size"


def _names(text: str | None) -> str:
    # A JSON list, as `parse_line` leaves it.
    return ", ".join(part.strip(' "') for part in (text or "").strip("[]").split(",") if part.strip(' "'))
