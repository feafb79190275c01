"""The /codex commands: what they take, and what was meant by the free text behind one."""

from __future__ import annotations

from dataclasses import dataclass

from codex_control.errors import BadInput


@dataclass(frozen=True)
class Ask:
    """Ask Codex; the text is as the person typed it."""

    text: str


@dataclass(frozen=True)
class ShowSettings:
    """Show the settings and the profiles."""


@dataclass(frozen=True)
class SetProfile:
    """Switch the profile."""

    name: str


@dataclass(frozen=True)
class SetSwitch:
    """Turn a setting on or off: `show_reasoning` or `final_only`."""

    setting: str
    on: bool


@dataclass(frozen=True)
class Status:
    """Show how the instance is."""


@dataclass(frozen=True)
class Start:
    """Bring the child up."""


@dataclass(frozen=True)
class Stop:
    """End the child; `force` cuts a running turn off."""

    force: bool


@dataclass(frozen=True)
class Help:
    """List the commands."""


@dataclass(frozen=True)
class Review:
    """Review the working tree where `base` is empty, else what is new since `base`."""

    base: str
    focus: str


@dataclass(frozen=True)
class SubmitTask:
    """Hand work over; the text is as the person typed it."""

    text: str


@dataclass(frozen=True)
class ListTasks:
    """List the session's tasks."""


@dataclass(frozen=True)
class ShowResult:
    """Show what came of a task; of the session's latest that has ended where `task` is empty."""

    task: str


@dataclass(frozen=True)
class CancelTask:
    """End a task."""

    task: str


Slash = (
    Ask
    | ShowSettings
    | SetProfile
    | SetSwitch
    | Status
    | Start
    | Stop
    | Help
    | Review
    | SubmitTask
    | ListTasks
    | ShowResult
    | CancelTask
)


@dataclass(frozen=True)
class Usage:
    """What a command takes (empty: nothing), an example of it, and what it does."""

    takes: str
    example: str
    does: str


USAGES = {
    "ask": Usage("TEXT", "/codex-ask why does test_login fail?", "ask this session's Codex; costs no Claude tokens"),
    "config": Usage("[high|default|low|NAME]", "/codex-config high", "show the settings, or switch the profile"),
    "reasoning": Usage("on|off", "/codex-reasoning on", "reasoning summaries with the answers, or not"),
    "final_only": Usage("on|off", "/codex-final_only on", "the final answer alone, or with what Codex did"),
    "status": Usage("", "/codex-status", "how this session's Codex is, and which turn runs"),
    "start": Usage("", "/codex-start", "start it, and the service where it does not run"),
    "stop": Usage("[--force]", "/codex-stop --force", "stop it (--force: cut a running turn off); history stays"),
    "help": Usage("", "/codex-help", "this list"),
    "review": Usage("[--base REF] [FOCUS…]", "/codex-review --base main error handling", "have changes reviewed"),
    "task": Usage(
        "TEXT", "/codex-task port the tests to pytest", "work in the background; it goes on when Claude ends"
    ),
    "tasks": Usage("", "/codex-tasks", "this session's background work, and how far it is"),
    "result": Usage(
        "[ID]", "/codex-result 1f8k2m-01m7y31n671jfhvm", "what came of it; without ID of the latest that ended"
    ),
    "cancel": Usage("ID", "/codex-cancel 1f8k2m-01m7y31n671jfhvm", "end background work"),
}
"""Every command by its name behind `codex:`; /codex-help lists them in this order."""

_SWITCHES = {"reasoning": "show_reasoning", "final_only": "final_only"}


def usage_line(command: str) -> str:
    """What a command takes, and a right example."""
    usage = USAGES[command]
    return f"usage: {f'/codex-{command} {usage.takes}'.rstrip()} · for example: {usage.example}"


def help_text() -> str:
    """All commands, a line each."""
    calls = {name: f"/codex-{name} {usage.takes}".rstrip() for name, usage in USAGES.items()}
    width = max(map(len, calls.values()))
    lines = [f"{calls[name].ljust(width)}  {usage.does}" for name, usage in USAGES.items()]
    return "\n".join([*lines, "", "Each is also /codex:NAME. In a terminal: codexctl --help"])


def parse(command: str, text: str) -> Slash:
    """Understand `text` behind the command `command` (a key of `USAGES`).

    Raises `BadInput` that names the mistake and shows a right example.
    """
    words = text.split()
    match command:
        case "ask":
            if not words:
                raise _wrong(command, "the question is missing")
            return Ask(text)
        case "config":
            if len(words) > 1:
                raise _wrong(command, f"one profile is named at a time, and there are {len(words)} words")
            return SetProfile(words[0]) if words else ShowSettings()
        case "reasoning" | "final_only":
            return SetSwitch(_SWITCHES[command], _switch(command, words))
        case "stop":
            if words not in ([], ["--force"]):
                raise _wrong(command, f"'{_short(text)}' is not --force")
            return Stop(force=bool(words))
        case "review":
            return _review(text)
        case "task":
            if not words:
                raise _wrong(command, "what Codex shall do is missing")
            return SubmitTask(text)
        case "result" | "cancel":
            if len(words) > 1:
                raise _wrong(command, f"one task is named at a time, and there are {len(words)} words")
            return _with_task(command, words[0] if words else "")
        case _ if words:
            raise _wrong(command, f"it takes nothing, and there is '{_short(text)}'")
        case "status":
            return Status()
        case "tasks":
            return ListTasks()
        case "start":
            return Start()
        case _:
            return Help()


def _switch(command: str, words: list[str]) -> bool:
    match [word.lower() for word in words]:
        case ["on"]:
            return True
        case ["off"]:
            return False
        case []:
            raise _wrong(command, "on or off is missing")
        case _:
            raise _wrong(command, f"'{_short(' '.join(words))}' is neither on nor off")


def _with_task(command: str, task: str) -> Slash:
    if command == "result":
        return ShowResult(task)
    if not task:
        raise _wrong(command, "the task's ID is missing; /codex-tasks lists them")
    return CancelTask(task)


def _review(text: str) -> Review:
    # Only at the beginning: behind it everything is the person's own words.
    words = text.split(maxsplit=2)
    if words and words[0].startswith("--base="):
        base, focus = words[0].removeprefix("--base="), text.split(maxsplit=1)[1:]
    elif words and words[0] == "--base":
        base, focus = words[1] if len(words) > 1 else "", words[2:]
    elif words and words[0].startswith("-"):
        raise _wrong("review", f"there is no option '{_short(words[0])}'")
    else:
        return Review(base="", focus=text.strip())
    if not base or base.startswith("-"):
        raise _wrong("review", "--base names no branch or commit")
    return Review(base, focus[0] if focus else "")


def _wrong(command: str, mistake: str) -> BadInput:
    return BadInput(f"/codex-{command}: {mistake}", next_step=usage_line(command))


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else line[:59] + "…"
