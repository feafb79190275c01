"""Puts the plugin into the user's own Claude Code, through its own commands, and takes it out again."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from codex_control.errors import BadConfig, CodexError, ServiceUnavailable, WrongState

from codexctl.claude.launcher import MEND_CLAUDE, find_claude
from codexctl.claude.plugin import MARKETPLACE, PLUGIN, ensure_plugin, marketplace_dir
from codexctl.claude.settings_file import give_back, keep, parsed, settings_path

PLUGIN_ID = f"{PLUGIN}@{MARKETPLACE}"
# `plugin install` of a local directory takes half a second.
_COMMAND_LIMIT_S = 60.0


def install(environ: Mapping[str, str], argv0: str) -> Path:
    """Install the plugin for plain `claude` and return the marketplace's directory; doing it again is no error.

    Raises `WrongState` where another marketplace has our name, `BadConfig` where the settings are broken, and
    `ServiceUnavailable` where Claude Code refuses.
    """
    claude = _claude(environ, argv0)
    root = ensure_plugin(environ, argv0)
    registered = _registered(environ)
    if registered not in (None, str(root)):
        raise WrongState(
            f"Claude Code knows another marketplace named {MARKETPLACE}",
            why=f"it is at {registered}",
            next_step=f"`claude plugin marketplace remove {MARKETPLACE}` removes it",
        )
    # Nothing of ours is in the settings: whatever was kept before is of an installation that somebody else undid.
    keep(settings_path(environ), _kept(environ), anew=registered is None and not is_installed(environ))
    if registered is None:
        _run(claude, environ, "marketplace", "add", str(root))
    if not is_installed(environ):
        _run(claude, environ, "install", PLUGIN_ID)
    return root


def uninstall(environ: Mapping[str, str], argv0: str) -> bool:
    """Take the plugin out and give the settings back; False where nothing was installed. Raises as `install` does."""
    installed, registered = is_installed(environ), _registered(environ)
    if installed or registered == str(marketplace_dir(environ)):
        claude = _claude(environ, argv0)
        if installed:
            _run(claude, environ, "uninstall", PLUGIN_ID)
        if registered is not None:
            _run(claude, environ, "marketplace", "remove", MARKETPLACE)
    elif not _kept(environ).exists():
        return False
    give_back(settings_path(environ), _kept(environ))
    shutil.rmtree(marketplace_dir(environ), ignore_errors=True)
    return True


def is_installed(environ: Mapping[str, str]) -> bool:
    """Whether the plugin is on in the user's settings."""
    enabled = _settings(environ).get("enabledPlugins")
    return isinstance(enabled, dict) and enabled.get(PLUGIN_ID) is True


def claude_version(environ: Mapping[str, str], argv0: str) -> str:
    """Where Claude Code is and which version it says it is; empty where there is none."""
    claude = find_claude(environ, argv0)
    if claude is None:
        return ""
    try:
        ended = subprocess.run(
            [claude, "--version"], env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{claude} ({error})"
    return f"{claude}, {ended.stdout.strip() or ended.stderr.strip() or 'no version'}"


def _settings(environ: Mapping[str, str]) -> dict[str, object]:
    path = settings_path(environ)
    try:
        return parsed(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BadConfig(
            f"{path} cannot be read", why=str(error), next_step="mend it: Claude Code does not load it either"
        ) from error


def _registered(environ: Mapping[str, str]) -> str | None:
    """The directory of the marketplace of our name that Claude Code knows; None where it knows none."""
    known = _settings(environ).get("extraKnownMarketplaces")
    match known.get(MARKETPLACE) if isinstance(known, dict) else None:
        case None:
            return None
        case {"source": {"path": str(path)}}:
            return path
        case other:
            return str(other)


def _kept(environ: Mapping[str, str]) -> Path:
    return marketplace_dir(environ).with_name("claude-settings.kept")


def _claude(environ: Mapping[str, str], argv0: str) -> str:
    claude = find_claude(environ, argv0)
    if claude is None:
        raise CodexError(
            "Claude Code is not on PATH",
            why="there is no program named claude",
            next_step="install it: `npm install -g @anthropic-ai/claude-code`",
        )
    return claude


def _run(claude: str, environ: Mapping[str, str], *arguments: str) -> None:
    # What a session tells its own children would make this one believe that it is a part of that session.
    clean = {name: value for name, value in environ.items() if name != "CLAUDECODE"}
    command = [claude, "plugin", *arguments]
    try:
        ended = subprocess.run(
            command,
            env=clean,
            cwd=os.environ.get("HOME", "/"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_COMMAND_LIMIT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        if isinstance(error, OSError):
            raise ServiceUnavailable(
                f"{claude} cannot be run", why=error.strerror or str(error), next_step=MEND_CLAUDE
            ) from error
        raise ServiceUnavailable(
            f"claude plugin {arguments[0]} did not end within {_COMMAND_LIMIT_S:.0f} s",
            next_step="`claude --version` shows whether Claude Code itself works",
        ) from error
    if ended.returncode != 0:
        said = " / ".join((ended.stderr.strip() or ended.stdout.strip()).splitlines()[-3:])
        raise ServiceUnavailable(
            f"claude plugin {' '.join(arguments[:2])} failed",
            why=said or f"exit code {ended.returncode}",
            next_step="`claude --version` shows whether Claude Code itself works",
        )
