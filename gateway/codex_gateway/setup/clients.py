"""The clients whose settings the gateway can write: where they are, what they must say, and their format.

Measured with Claude Code 2.1.329 and Codex 0.163.0:

- Claude Code: `env` of settings.json beats the process's environment, and `ANTHROPIC_AUTH_TOKEN` there beats an
  `ANTHROPIC_API_KEY` of the environment. `apiKeyHelper` works too, but runs a program for what lies beside it anyway.
- Codex: `experimental_bearer_token` of a provider works, and so does `auth.command`, which costs every start 150 ms and
  breaks when the program moves. `env_key` would need a variable that every shell and editor sets.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any, Protocol

from codex_gateway.config.endpoint import ClientKind
from codex_gateway.dialect.neutral import Dialect

PROVIDER = "codex-gateway"
"""The name of the gateway among Codex's providers."""

Wanted = list[tuple[tuple[str, ...], Any]]


class Client(Protocol):
    """A client of the gateway."""

    kind: ClientKind
    title: str
    dialect: Dialect

    def path(self, environ: Mapping[str, str]) -> Path:
        """Its settings file, links followed. Raises `KeyError` where neither its own variable nor `HOME` is set."""

    def wanted(self, url: str, token: str, model: str) -> Wanted:
        """What the settings must say."""

    def parse(self, text: str) -> MutableMapping[str, Any]:
        """The settings. Raises `ValueError` with the line."""

    def write(self, settings: MutableMapping[str, Any], like: str) -> str:
        """The settings as text, laid out as `like` is."""

    def read_back(self, text: str) -> dict[str, Any]:
        """The settings as plain values, read by another reader than the one that wrote them where there is one."""

    def connection(self, settings: Mapping[str, Any]) -> tuple[str, str, str]:
        """URL of a request, token and model as the settings have them; empty where they have none."""

    def warnings(self, settings: Mapping[str, Any]) -> list[str]:
        """What else in the settings keeps the client away from the gateway."""


class ClaudeCode:
    """Claude Code: `~/.claude/settings.json`."""

    kind = ClientKind.CLAUDE_CODE
    title = "Claude Code"
    dialect = Dialect.MESSAGES

    def path(self, environ: Mapping[str, str]) -> Path:
        """See `Client`."""
        folder = environ.get("CLAUDE_CONFIG_DIR") or f"{environ['HOME']}/.claude"
        return Path(os.path.realpath(Path(folder, "settings.json")))

    def wanted(self, url: str, token: str, model: str) -> Wanted:
        """See `Client`."""
        values: Wanted = [(("env", "ANTHROPIC_BASE_URL"), url), (("env", "ANTHROPIC_AUTH_TOKEN"), token)]
        return values + ([(("env", "ANTHROPIC_MODEL"), model)] if model else [])

    def parse(self, text: str) -> MutableMapping[str, Any]:
        """See `Client`."""
        value = json.loads(text) if text.strip() else {}
        if not isinstance(value, dict):
            raise ValueError("it is no JSON object")  # noqa: TRY004 (as other JSON that is no settings)
        return value

    def write(self, settings: MutableMapping[str, Any], like: str) -> str:
        """See `Client`."""
        if not settings and not like.strip():
            return like
        indent = re.search(r"^([ \t]+)\S", like, re.MULTILINE)
        # What stands on one line stays there.
        depth = indent[1] if indent else (None if like.strip("{} \t\r\n") else 2)
        end = "" if like and not like.endswith("\n") else "\n"
        return json.dumps(settings, indent=depth, ensure_ascii=False) + end

    def read_back(self, text: str) -> dict[str, Any]:
        """See `Client`."""
        return dict(self.parse(text))

    def connection(self, settings: Mapping[str, Any]) -> tuple[str, str, str]:
        """See `Client`."""
        values = settings.get("env")
        values = values if isinstance(values, Mapping) else {}
        url = str(values.get("ANTHROPIC_BASE_URL") or "")
        model = values.get("ANTHROPIC_MODEL") or settings.get("model") or ""
        return f"{url}/v1/messages" if url else "", str(values.get("ANTHROPIC_AUTH_TOKEN") or ""), str(model)

    def warnings(self, settings: Mapping[str, Any]) -> list[str]:
        """See `Client`."""
        values = settings.get("env")
        values = values if isinstance(values, Mapping) else {}
        return [
            f"env.{name} is set: with it Claude Code asks that cloud and not the gateway"
            for name in ("CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX", "CLAUDE_CODE_USE_FOUNDRY")
            if str(values.get(name) or "0").lower() not in ("0", "false")
        ]


class Codex:
    """Codex: `~/.codex/config.toml`."""

    kind = ClientKind.CODEX
    title = "Codex"
    dialect = Dialect.RESPONSES

    def path(self, environ: Mapping[str, str]) -> Path:
        """See `Client`."""
        folder = environ.get("CODEX_HOME") or f"{environ['HOME']}/.codex"
        return Path(os.path.realpath(Path(folder, "config.toml")))

    def wanted(self, url: str, token: str, model: str) -> Wanted:
        """See `Client`."""
        provider = {
            "name": "codex-gateway",
            "base_url": f"{url}/v1",
            "wire_api": "responses",
            "experimental_bearer_token": token,
        }
        first: Wanted = [(("model_provider",), PROVIDER)]
        if model:
            first.append((("model",), model))
        return [*first, (("model_providers", PROVIDER), provider)]

    def parse(self, text: str) -> MutableMapping[str, Any]:
        """See `Client`."""
        import tomlkit

        return tomlkit.parse(text)

    def write(self, settings: MutableMapping[str, Any], like: str) -> str:  # noqa: ARG002 (tomlkit keeps the layout)
        """See `Client`."""
        import tomlkit

        return tomlkit.dumps(settings)

    def read_back(self, text: str) -> dict[str, Any]:
        """See `Client`."""
        import tomllib

        return tomllib.loads(text)

    def connection(self, settings: Mapping[str, Any]) -> tuple[str, str, str]:
        """See `Client`."""
        providers = settings.get("model_providers")
        name = str(settings.get("model_provider") or "")
        provider = providers.get(name) if isinstance(providers, Mapping) else None
        provider = provider if isinstance(provider, Mapping) else {}
        url = str(provider.get("base_url") or "").rstrip("/")
        token = str(provider.get("experimental_bearer_token") or "")
        return f"{url}/responses" if url else "", token, str(settings.get("model") or "")

    def warnings(self, settings: Mapping[str, Any]) -> list[str]:
        """See `Client`."""
        profiles, name = settings.get("profiles"), str(settings.get("profile") or "")
        profile = profiles.get(name) if isinstance(profiles, Mapping) else None
        if isinstance(profile, Mapping) and profile.get("model_provider", PROVIDER) != PROVIDER:
            return [f"the profile {name} is the default one, and has another model_provider than the gateway"]
        return []


CLIENTS: dict[str, Client] = {"claude-code": ClaudeCode(), "codex": Codex()}
