"""How a program tells an error: to people on stderr, to programs as JSON. The same for every program of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codex_control.errors import BadInput, CodexError
from codex_control.safe_text import one_line

if TYPE_CHECKING:
    import click

_MAX_CHARACTERS = 2000


def error_text(program: str, error: CodexError) -> str:
    """`error` as one sentence, or with a line for each of several reasons; what to do is on a line of its own."""
    reasons = [one_line(line, _MAX_CHARACTERS) for line in error.why.splitlines() if line.strip()]
    if len(reasons) > 1:
        lines = [f"{program}: {one_line(error.what, _MAX_CHARACTERS)}:", *(f"    {reason}" for reason in reasons)]
    else:
        sentence = one_line(": ".join([error.what, *reasons]), _MAX_CHARACTERS)
        lines = [f"{program}: {sentence if sentence.endswith('?') else sentence.rstrip('.') + '.'}"]
    if error.next_step:
        lines.append(f"  next: {one_line(error.next_step, _MAX_CHARACTERS)}")
    return "\n".join(lines)


def tell_usage(program: str, error: click.ClickException, *, as_json: bool) -> int:
    """Tell a wrong command line as every other error, and return its exit code; none at all gets the help."""
    import click

    if type(error).__name__ == "NoArgsIsHelpError":  # new in click 8.2
        error.show()
        return error.exit_code
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context else program
    next_step = f"`{path} --help` says how it is used"
    if isinstance(error, click.NoSuchOption) and " " in error.option_name:  # no option has one: it is somebody's text
        next_step = f"put `--` before a text that begins with a dash: {path} -- '- a text'"
    wrong = BadInput(_plain(error), next_step=next_step)
    if as_json:
        click.echo(error_json(wrong))
    click.echo(error_text(program, wrong), err=True)
    return error.exit_code


def _plain(error: click.ClickException) -> str:
    """The message in words that name what is wanted; click's own for a number of a range name its type."""
    import click

    message, parameter = error.format_message(), getattr(error, "param", None)
    wanted = getattr(parameter, "type", None)
    if not isinstance(wanted, click.IntRange) or "is not a valid integer range" not in message:
        return message
    match wanted.min, wanted.max:
        case None, None:
            span = ""
        case least, None:
            span = f" from {least} on"
        case None, most:
            span = f" up to {most}"
        case least, most:
            span = f" from {least} to {most}"
    return message.replace("is not a valid integer range", f"is not a whole number{span}")


def error_json(error: CodexError) -> str:
    """`error` as `--json` prints it: one line, ASCII only."""
    told = {
        "reason": error.reason,
        "what": error.what,
        "why": error.why,
        "next": error.next_step,
        "exit_code": int(error.exit_code),
    }
    import json  # the launcher of Claude Code, which is on the way of every start, has no use for it

    return json.dumps({"error": told}, separators=(",", ":"))
