"""The part of the configuration that describes one endpoint.

Secrets are only named or held here; `secrets` fetches them. `repr` of what holds one does not show it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from codex_control.service.config_key import (
    Seconds,
    choices,
    count,
    duration,
    section,
    sections,
    switch,
    text,
    text_map,
    texts,
    values,
)
from codex_control.service.units import HOUR, MINUTE

from codex_gateway.dialect.neutral import Dialect

MAX_KEYS = 200
MAX_REWRITES = 500

TAG_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._:/-]*"
TAG_MEANS = "letters, digits and `._:/-`, the first a letter or digit"
_HEADER_NAME = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_PATH = r"|(~?/).*"
_PATH_MEANS = "a path that begins with `/` or `~/`"


class ClientKind(enum.StrEnum):
    """What program asks."""

    CLAUDE_CODE = "claude-code"
    """Claude Code."""
    CODEX = "codex"
    """Codex."""
    OTHER = "other"
    """Any other program."""
    ANY = "any"
    """All of them; no request has this kind."""


class AuthHeader(enum.StrEnum):
    """How a key is sent."""

    AUTO = "auto"
    """As the dialect's maker wants it: `x-api-key` for `messages`, `bearer` for the others; what was learned first."""
    X_API_KEY = "x-api-key"
    """`x-api-key: KEY`, Anthropic's way."""
    BEARER = "bearer"
    """`Authorization: Bearer KEY`, OpenAI's way."""
    API_KEY = "api-key"
    """`api-key: KEY`, Azure's way."""
    X_GOOG_API_KEY = "x-goog-api-key"
    """`x-goog-api-key: KEY`, Google's way."""


class Family(enum.StrEnum):
    """Whose features an endpoint has."""

    AUTO = "auto"
    """By its host name: api.anthropic.com and api.openai.com have their makers' features, others the plain core."""
    ANTHROPIC = "anthropic"
    """All of Anthropic's, such as a relay of Anthropic's own API."""
    OPENAI = "openai"
    """All of OpenAI's, such as Azure OpenAI or a relay of OpenAI's own API."""
    OTHER = "other"
    """The plain core of the dialect alone."""


class MaxTokensField(enum.StrEnum):
    """What the limit of an answer is called in Chat Completions."""

    AUTO = "auto"
    """`max_completion_tokens` for OpenAI, `max_tokens` for others; what was learned first."""
    MAX_TOKENS = "max_tokens"
    """The older name, which most providers know."""
    MAX_COMPLETION_TOKENS = "max_completion_tokens"
    """OpenAI's newer name."""


class KeySource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One key: written here, or where it is kept. At most one of the five is set; none means no authentication."""

    api_key: Annotated[str, text("The key itself, sent as `header` says.", max_length=10_000, secret=True)] = ""
    bearer: Annotated[str, text("A token, sent as `Authorization: Bearer`.", max_length=10_000, secret=True)] = ""
    env: Annotated[
        str,
        text(
            "Environment variable that holds the key.",
            pattern=r"|[A-Za-z_][A-Za-z0-9_]*",
            pattern_means="a variable's name",
            max_length=200,
        ),
    ] = ""
    file: Annotated[
        str,
        text(
            "File that holds the key alone; only you may read it (`chmod 600`).",
            pattern=_PATH,
            pattern_means=_PATH_MEANS,
            max_length=4096,
        ),
    ] = ""
    command: Annotated[
        tuple[str, ...],
        texts(
            "Program and its arguments, run without a shell, that prints the key; run again where the key is refused.",
            max_length=4096,
            pattern=r"(?s:.+)",
            pattern_means="a program or an argument",
        ),
    ] = ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.source() or 'none'})"

    def source(self) -> str:
        """Say where the key comes from, without it; empty where there is none."""
        for name in ("api_key", "bearer"):
            if getattr(self, name):
                return name
        if self.env:
            return f"env {self.env}"
        if self.file:
            return f"file {self.file}"
        # Arguments may hold secrets.
        return f"command {self.command[0]}" if self.command else ""


class PoolKey(KeySource, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One key of a pool."""

    name: Annotated[str, text("Its name, for the records. Empty: its place in the list.", max_length=100)] = ""
    weight: Annotated[int, count("Its share of the requests, beside the other keys' weights.", 1, 1000)] = 1
    enabled: Annotated[bool, switch("Whether it is used.")] = True


class Auth(KeySource, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the gateway shows an endpoint who it is: one key, or a pool of them."""

    header: Annotated[AuthHeader, text("How the key is sent.")] = AuthHeader.AUTO
    keys: Annotated[tuple[PoolKey, ...], sections("A pool of keys, in place of one.", most=MAX_KEYS)] = ()

    def pool(self) -> tuple[PoolKey, ...]:
        """All keys: the pool, or the single one as a pool of one; empty where there is none. Each has a name."""
        if self.keys:
            return tuple(
                msgspec.structs.replace(key, name=key.name or str(place)) for place, key in enumerate(self.keys, 1)
            )
        if not self.source():
            return ()
        return (
            PoolKey(
                name="1", api_key=self.api_key, bearer=self.bearer, env=self.env, file=self.file, command=self.command
            ),
        )


class Rewrite(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model in place of another."""

    source_pattern: Annotated[
        str,
        text(
            "Glob for the model that the client names.",
            max_length=200,
            pattern=".+",
            pattern_means="a glob such as `claude-*`",
        ),
    ]
    target_model: Annotated[
        str,
        text("The model that the endpoint is asked for.", max_length=200, pattern=".+", pattern_means="a model's name"),
    ]


class Timeouts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Longest waits for one endpoint."""

    connect: Annotated[Seconds, duration("Until the connection stands, TLS included.", 0.1, 10 * MINUTE)] = 10.0
    first_byte: Annotated[
        Seconds, duration("From the request until the answer begins; models that think need long.", 0.1, 2 * HOUR)
    ] = 5 * MINUTE
    idle: Annotated[Seconds, duration("Between two pieces of a streaming answer.", 0.1, 2 * HOUR)] = 5 * MINUTE
    total: Annotated[Seconds, duration("For one attempt as a whole.", 1, 24 * HOUR, zero_means="no limit")] = 0.0


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One upstream model API."""

    name: Annotated[
        str,
        text(
            "Its name, which no other endpoint has.",
            max_length=100,
            pattern=r"[^\s/\x00-\x1f\x7f]([^/\x00-\x1f\x7f]*[^\s/\x00-\x1f\x7f])?",
            pattern_means="text without `/`, on one line",
        ),
    ]
    url: Annotated[
        str,
        text(
            "Its base URL, as its maker gives it for SDKs (`https://api.anthropic.com`, `https://api.openai.com/v1`), "
            "or the full URL of its only dialect. Where its path names no version, `/v1` is added.",
            max_length=2000,
            pattern=r"https?://[^\s/?#@]+(/[!\x22$-~]*)?(\?[!\x22$-~]*)?",
            pattern_means="an http or https URL without a user and password, its path percent-encoded",
        ),
    ]
    dialects: Annotated[
        tuple[Dialect, ...],
        choices("Dialects that it speaks. A client's own is preferred; else the first is converted to."),
    ] = (Dialect.MESSAGES,)
    auth: Annotated[Auth, section("How the gateway shows it who it is.")] = Auth()
    enabled: Annotated[bool, switch("Whether it is used.")] = True
    priority: Annotated[int, count("Lower ones are asked first.", 0, 1_000_000)] = 100
    weight: Annotated[int, count("Its share among those of the same priority.", 1, 1_000_000)] = 1
    tags: Annotated[
        tuple[str, ...],
        texts(
            "Only requests with one of these tags come here; without any tags, all do.",
            max_length=64,
            pattern=TAG_PATTERN,
            pattern_means=TAG_MEANS,
        ),
    ] = ()
    clients: Annotated[tuple[ClientKind, ...], choices("Programs that it serves.")] = (ClientKind.ANY,)
    models: Annotated[
        tuple[str, ...],
        texts(
            "Globs for the models that it has, under the client's name or after the rewrite; without any, all.",
            max_length=200,
            pattern=".+",
            pattern_means="a model's name or a glob",
        ),
    ] = ()
    model_rewrite: Annotated[
        tuple[Rewrite, ...],
        sections(
            "Models by other names: the first that fits counts. Answers bear the client's name.", most=MAX_REWRITES
        ),
    ] = ()
    parameter_overrides: Annotated[
        Mapping[str, Any],
        values(
            "Values put into the request body, under a key or a dotted path (`thinking.budget_tokens`); null deletes.",
            pattern=r"[^.\s]+(\.[^.\s]+)*",
            pattern_means="a key or a dotted path",
            most=200,
        ),
    ] = {}
    header_overrides: Annotated[
        Mapping[str, str | None],
        text_map(
            "Headers of the request; null deletes.",
            max_length=10_000,
            pattern=_HEADER_NAME,
            pattern_means="a header's name",
            most=200,
        ),
    ] = {}
    proxy: Annotated[
        str,
        text(
            "Proxy on the way to it. Empty: none.",
            max_length=2000,
            # TLS to the proxy itself is nothing that python-socks knows.
            pattern=r"|(http|socks5h?)://[^\s/?#]+/?",
            pattern_means="`http://HOST:PORT` or `socks5://HOST:PORT`, with `USER:PASSWORD@` where needed",
            secret=True,
        ),
    ] = ""
    timeouts: Annotated[Timeouts, section("Longest waits for it.")] = Timeouts()
    max_tokens_field: Annotated[MaxTokensField, text("What the limit of an answer is called in Chat Completions.")] = (
        MaxTokensField.AUTO
    )
    thinking_opened: Annotated[
        tuple[str, ...],
        texts(
            "Globs for models, under the name that is sent, whose text begins in the midst of reasoning: their "
            "template opens `<think>` in the prompt, and nobody takes the reasoning out (DeepSeek R1, QwQ without a "
            "parser). All up to `</think>` is then reasoning.",
            max_length=200,
            pattern=".+",
            pattern_means="a model's name or a glob",
        ),
    ] = ()
    family: Annotated[Family, text("Whose features it has.")] = Family.AUTO

    def __repr__(self) -> str:
        state = "" if self.enabled else " disabled"
        return f"Endpoint({self.name!r} {'/'.join(self.dialects)} priority={self.priority} weight={self.weight}{state})"
