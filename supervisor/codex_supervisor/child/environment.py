"""The environment of a child, made from an allow list: nothing gets in because nobody thought of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from codex_control.errors import BadConfig

from codex_supervisor.child.identity import TOKEN_VARIABLE

DEFAULT_ALLOW: tuple[str, ...] = (
    # Who and where we are.
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "COLORTERM", "TMPDIR", "XDG_*"),
    *("LANG", "LANGUAGE", "LC_*", "TZ", "TZDIR", "__CF_USER_TEXT_ENCODING"),
    # Certificates and proxies.
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "CODEX_CA_CERTIFICATE", "NIX_SSL_CERT_FILE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    # What Codex itself reads, found in its binary (0.163.0), and its log level.
    *("CODEX_HOME", "CODEX_SQLITE_HOME", "CODEX_API_KEY", "CODEX_ACCESS_TOKEN", "RUST_LOG"),
    *("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORGANIZATION", "OPENAI_PROJECT"),
    # Providers that Codex knows by name.
    *("AZURE_OPENAI_API_KEY", "OLLAMA_HOST", "AWS_BEARER_TOKEN_BEDROCK", "AWS_PROFILE", "AWS_REGION"),
    *("AWS_DEFAULT_REGION", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"),
    # Agents and buses that the user's own commands need.
    *("SSH_AUTH_SOCK", "SSH_AGENT_PID", "GPG_AGENT_INFO", "DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "WAYLAND_DISPLAY"),
)
"""Names and glob patterns of what a child gets from the supervisor's environment."""

NEVER: tuple[str, ...] = (
    # These would let a child speak to systemd in the supervisor's name (sd_notify(3), sd_listen_fds(3)).
    *("NOTIFY_SOCKET", "WATCHDOG_*", "LISTEN_*", "MAINPID", "INVOCATION_ID", "JOURNAL_STREAM"),
    # These mark whose process it is: a supervisor started from a Codex shell must not pass that mark on.
    *(TOKEN_VARIABLE, "CODEX_THREAD_ID", "CODEX_SESSION_ID", "CODEX_TOOL_CALL_ID"),
)
"""What no child gets, whatever is allowed or added."""


def child_environment(
    parent: Mapping[str, str], *, allow: Sequence[str], extra: Mapping[str, str], token: str, codex_home: str
) -> dict[str, str]:
    """Return the environment of a child.

    It holds the variables of `parent` whose name matches a pattern of `allow` (glob, case counts), then `extra`, which
    wins, then `CODEX_HOME` where `codex_home` is not empty, and the child's `token`. `NEVER` is left out of all.

    Raises `BadConfig` where a name of `extra` is no name, or a value holds a NUL.
    """
    for name, value in extra.items():
        if not name or "=" in name or "\0" in name or "\0" in value:
            raise BadConfig(
                what=f"{name!r} cannot be an environment variable of a child",
                why="a name is not empty and holds no '=', and neither it nor the value holds a NUL",
                next_step="correct the child's environment in the configuration",
            )
    wanted = {name: value for name, value in parent.items() if _matches(name, allow)} | dict(extra)
    environment = {name: value for name, value in wanted.items() if not _matches(name, NEVER)}
    if codex_home:
        environment["CODEX_HOME"] = codex_home
    environment[TOKEN_VARIABLE] = token
    return environment


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
