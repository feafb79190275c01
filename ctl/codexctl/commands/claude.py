"""codexctl claude: the plugin for plain `claude`, and the review gate."""

from __future__ import annotations

import sys

import click
from codex_control.service.command_group import WholeHelpGroup

from codexctl.session import Session, verb


@click.group("claude", cls=WholeHelpGroup)
def command() -> None:
    """Install the plugin for plain claude, and look after it.

    claude-codex needs none of this: it brings the plugin along for one session.
    """


@command.command("install")
@verb
def install(session: Session) -> None:
    """Install the plugin for plain claude.

    Settings that it changes are given back as they were by uninstall.
    """
    from codexctl.claude.installing import PLUGIN_ID, install
    from codexctl.output import put, put_json

    root = install(session.environ, sys.argv[0])
    if session.json:
        put_json(_as_it_is(session))
    else:
        put(f"{PLUGIN_ID} is installed from {root}; sessions that start from now on have /codex-help")


@command.command("uninstall")
@verb
def uninstall(session: Session) -> None:
    """Take the plugin out again; the settings are then as they were before."""
    from codexctl.claude.installing import PLUGIN_ID, uninstall
    from codexctl.output import put, put_json

    done = uninstall(session.environ, sys.argv[0])
    if session.json:
        put_json(_as_it_is(session))
    else:
        put(f"{PLUGIN_ID} is uninstalled" if done else f"{PLUGIN_ID} was not installed")


@command.command("status")
@verb
def status(session: Session) -> None:
    """Show whether the plugin is installed, for which Claude Code, and whether the review gate is on."""
    from codexctl.output import put, put_json

    now = _as_it_is(session)
    if session.json:
        put_json(now)
        return
    where = (
        f"installed from {now['path']}" if now["installed"] else "not installed (claude-codex needs no installation)"
    )
    put(f"claude  {now['claude'] or 'not on PATH'}")
    put(f"plugin  {where}")
    put(f"gate    {_gate_line(now['gate'])}")


def _gate_line(gate: object) -> str:
    match gate:
        case {"rounds": rounds, "tokens": tokens}:
            return f"on: {rounds} rounds, {tokens:,} tokens for each session"
        case _:
            return "off"


def _as_it_is(session: Session) -> dict[str, object]:
    from codexctl.claude.gate_settings import load_gate
    from codexctl.claude.installing import PLUGIN_ID, claude_version, is_installed
    from codexctl.claude.plugin import marketplace_dir

    installed, gate = is_installed(session.environ), load_gate(session.paths)
    return {
        "plugin": PLUGIN_ID,
        "installed": installed,
        "path": str(marketplace_dir(session.environ)) if installed else "",
        "claude": claude_version(session.environ, sys.argv[0]),
        "gate": {"rounds": gate.rounds, "tokens": gate.tokens} if gate else None,
    }


@command.command("gate")
@click.argument("state", type=click.Choice(["on", "off"]), required=False)
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True, help="Reviews for each session.")
@click.option(
    "--tokens", type=click.IntRange(1), default=500_000, show_default=True, help="No further review beyond so many."
)
@verb
def gate(session: Session, state: str | None, rounds: int, tokens: int) -> None:
    """Have Codex review what changed before Claude stops; without on or off: show whether it does.

    Findings send Claude back to work. A review that cannot run never holds Claude up.
    """
    import msgspec

    from codexctl.claude.gate_settings import GateSettings, gate_file, load_gate
    from codexctl.claude.plugin import write_whole
    from codexctl.output import put, put_json

    file = gate_file(session.paths)
    if state is None:
        now = load_gate(session.paths)
        if session.json:
            put_json({"gate": {"rounds": now.rounds, "tokens": now.tokens} if now else None})
        else:
            put(_gate_line({"rounds": now.rounds, "tokens": now.tokens} if now else None))
        return
    if state == "off":
        file.unlink(missing_ok=True)
    else:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(file, msgspec.json.format(msgspec.json.encode(GateSettings(rounds, tokens))) + b"\n")
    if session.json:
        put_json({"gate": {"rounds": rounds, "tokens": tokens} if state == "on" else None})
    else:
        put(f"the review gate is {state}")
