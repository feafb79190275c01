"""The one model of `~/.config/codex-gateway/config.yaml`: every key with its unit, bounds, default and meaning.

Every key is optional but an endpoint's `name` and `url`, and what a rule or a price is about. A key of the file and
its attribute here have the same name. Durations are seconds (`Seconds`), sizes are bytes (`Bytes`). `reading` reads the
file, `reference` writes the reference page. Endpoints have a module of their own: `endpoint`.
"""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec
from codex_control.service.config_key import (
    Applies,
    Bytes,
    Seconds,
    count,
    duration,
    number,
    section,
    sections,
    size,
    switch,
    text,
    texts,
)
from codex_control.service.units import DAY, GIB, HOUR, KIB, MIB, MINUTE, TIB

from codex_gateway.config.endpoint import TAG_MEANS, TAG_PATTERN, Endpoint

MAX_ENDPOINTS = 500
MAX_RULES = 500
MAX_PRICES = 2000

DEFAULT_PORT = 9477
"""Not assigned by IANA, below the ports that systems hand out by themselves, next to the supervisor's 9476."""


class Bodies(enum.StrEnum):
    """Which requests are recorded with their bodies."""

    NONE = "none"
    """None: figures alone."""
    FAILED = "failed"
    """Those that failed, and those that had to be sent to more than one endpoint."""
    ALL = "all"
    """All."""


class HealthRequest(enum.StrEnum):
    """What is asked of an endpoint that is out, to see whether it is back."""

    MODELS = "models"
    """The list of models. It costs nothing; where the endpoint has none, a request of one token follows."""
    MESSAGE = "message"
    """A request for one token: it costs a little, and proves more."""
    NONE = "none"
    """Nothing: the next client's request is the probe."""


class Thinking(enum.StrEnum):
    """Whether a request wants the model to think."""

    ANY = "any"
    """The rule does not look at it."""
    ON = "on"
    """With a budget, an effort or adaptive."""
    OFF = "off"
    """Without."""


class LogLevel(enum.StrEnum):
    """The least important records that are logged."""

    DEBUG = "debug"
    """Every request in one line, without its text."""
    INFO = "info"
    """What changes: starts, ends, configurations, facts learned, endpoints that come back."""
    WARNING = "warning"
    """What went wrong and was put right."""
    ERROR = "error"
    """What went wrong and stayed so."""


class ListenConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where clients find the gateway."""

    host: Annotated[
        str,
        text(
            "Its address. Prompts and keys pass here without encryption, so only this machine may reach it.",
            pattern=r"127\.0\.0\.1|::1|localhost",
            pattern_means="127.0.0.1, ::1 or localhost",
            applies=Applies.RESTART,
        ),
    ] = "127.0.0.1"
    port: Annotated[int, count("Its TCP port; 0 for any free one.", 0, 65_535, applies=Applies.RESTART)] = DEFAULT_PORT


class TaggingRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Gives tags to the requests that meet all of its conditions."""

    name: Annotated[str, text("Its name, for the records. Empty: its place in the list.", max_length=100)] = ""
    tags: Annotated[
        tuple[str, ...],
        texts(
            "Tags that the request gets. A `python` rule may leave them out: its function names them.",
            max_length=64,
            pattern=TAG_PATTERN,
            pattern_means=TAG_MEANS,
        ),
    ] = ()
    path: Annotated[
        str,
        text("Glob for the request's path without its prefix `/s/<token>`, such as `/v1/messages`.", max_length=500),
    ] = ""
    header: Annotated[
        str,
        text(
            "A header and a glob for its value; without `=` it only has to be there.",
            max_length=500,
            pattern=r"|[A-Za-z0-9!#$%&'*+.^_`|~-]+(=.*)?",
            pattern_means="`name` or `name=glob`",
        ),
    ] = ""
    query: Annotated[
        str,
        text(
            "A query parameter and a glob for its value; without `=` it only has to be there.",
            max_length=500,
            pattern=r"|[^=]+(=.*)?",
            pattern_means="`name` or `name=glob`",
        ),
    ] = ""
    body: Annotated[
        str,
        text(
            "A place in the body and a glob for its value, such as `tools[*].name=Bash` or `metadata.user_id=*`; "
            "without `=` it only has to be there.",
            max_length=500,
            pattern=r"|[^=]+(=.*)?",
            pattern_means="`place` or `place=glob`",
        ),
    ] = ""
    model: Annotated[
        str, text("Glob for the model that the client names, such as `claude-*-haiku-*`.", max_length=200)
    ] = ""
    thinking: Annotated[Thinking, text("Whether the request wants the model to think.")] = Thinking.ANY
    thinking_budget_from: Annotated[
        int, count("The thinking budget in tokens is at least this; 0 for any.", 0, 10_000_000)
    ] = 0
    thinking_budget_to: Annotated[
        int, count("The thinking budget in tokens is at most this; 0 for any.", 0, 10_000_000)
    ] = 0
    user_message: Annotated[
        str,
        text(
            "Regular expression that is searched in the text of the newest user message. It runs for "
            "`tagging.timeout` at most, and sees the first 64 KiB.",
            max_length=1000,
        ),
    ] = ""
    python: Annotated[
        str,
        text(
            "A function of yours, `module.name:function`: it gets the request as a dictionary with `path`, `headers` "
            "(without credentials), `query` and `body`, and returns true, false or a list of tags. It runs in a "
            "process of its own.",
            max_length=500,
            pattern=r"|[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*",
            pattern_means="`module.name:function`",
        ),
    ] = ""
    enabled: Annotated[bool, switch("Whether the rule is used.")] = True


class TaggingConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Tags of requests. An endpoint is chosen only for requests that bear one of its tags, where it has any."""

    rules: Annotated[tuple[TaggingRule, ...], sections("The rules; all of them are looked at.", most=MAX_RULES)] = ()
    timeout: Annotated[
        Seconds,
        duration(
            "Longest time for one regular expression or one `python` function; past it the rule gives no tag.", 0.01, 10
        ),
    ] = 0.25
    python_path: Annotated[
        tuple[str, ...],
        texts(
            "Directories in which the modules of `python` rules are looked for.",
            max_length=4096,
            pattern=r"(~?/).*",
            pattern_means="a path that begins with `/` or `~/`",
        ),
    ] = ()


class AffinityConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same conversation goes to the same endpoint, for its prompt cache and its encrypted reasoning."""

    enabled: Annotated[bool, switch("Whether it does, while the endpoint is healthy.")] = True
    kept_for: Annotated[
        Seconds, duration("Time after its last request that a conversation is remembered.", 1, 30 * DAY)
    ] = HOUR
    conversations: Annotated[
        int, count("Most conversations remembered; past it the longest unused is forgotten.", 1, 1_000_000)
    ] = 10_000


class RetryConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Attempts after a failure, as long as no byte has gone to the client."""

    attempts: Annotated[int, count("Most attempts for one request, on all endpoints together.", 1, 50)] = 6
    attempts_per_endpoint: Annotated[int, count("Most of them on one endpoint.", 1, 20)] = 2
    backoff_initial: Annotated[
        Seconds,
        duration(
            "Upper end of the random wait before a second attempt on the same endpoint; doubled for each next.",
            0,
            MINUTE,
        ),
    ] = 0.5
    backoff_max: Annotated[Seconds, duration("Cap of that upper end.", 0, 10 * MINUTE)] = 8.0
    retry_after_max: Annotated[
        Seconds,
        duration(
            "Longest wait that an endpoint may ask for with `Retry-After`; past it the next endpoint is asked.", 0, HOUR
        ),
    ] = 10.0
    budget_ratio: Annotated[
        int,
        count(
            "Retries allowed, as a percentage of the requests of the last `budget_window`: so that retries cannot "
            "multiply an outage.",
            0,
            1000,
        ),
    ] = 20
    budget_minimum: Annotated[
        int, count("Retries allowed in each `budget_window` whatever the number of requests.", 0, 100_000)
    ] = 20
    budget_window: Annotated[Seconds, duration("Time over which requests and retries are counted.", 1, HOUR)] = 10.0


class BreakerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When an endpoint or one of its keys is left alone for a while."""

    window: Annotated[Seconds, duration("Time over which results are counted.", 1, HOUR)] = MINUTE
    minimum: Annotated[int, count("Results in the window below which the rate says nothing.", 1, 10_000)] = 5
    failure_rate: Annotated[int, count("Percentage of failures in the window at which the breaker opens.", 1, 100)] = 50
    consecutive: Annotated[int, count("Failures in a row at which it opens as well.", 1, 1000)] = 3
    open_for: Annotated[
        Seconds, duration("Time that it stays open at first; doubled each time that a probe fails.", 0.1, HOUR)
    ] = 15.0
    open_for_max: Annotated[Seconds, duration("Cap of that time.", 0.1, DAY)] = 5 * MINUTE
    probes: Annotated[
        int, count("Requests let through at once while half open; as many successes close it.", 1, 100)
    ] = 1


class HealthConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Active checks of endpoints that are out; the others are judged by their clients' requests."""

    request: Annotated[HealthRequest, text("What is asked.")] = HealthRequest.MODELS
    interval: Annotated[Seconds, duration("Time between two checks of one endpoint.", 1, DAY)] = 30.0
    timeout: Annotated[Seconds, duration("Time that it gets to answer.", 0.1, 10 * MINUTE)] = 15.0
    model: Annotated[
        str,
        text("Model asked for one token. Empty: the endpoint's first, or the one last asked of it.", max_length=200),
    ] = ""


class LearnedConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Facts that the gateway learns about endpoints from their refusals."""

    enabled: Annotated[bool, switch("Whether it learns, and uses what it has learned.")] = True
    kept_for: Annotated[
        Seconds, duration("Time after which a fact is forgotten, and so tried out again.", MINUTE, 365 * DAY)
    ] = 7 * DAY


class LimitsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds that protect the gateway."""

    body: Annotated[Bytes, size("Largest request body.", KIB, GIB)] = 64 * MIB
    answer: Annotated[Bytes, size("Largest answer that does not stream.", KIB, GIB)] = 64 * MIB
    concurrent: Annotated[
        int, count("Most requests under way at once; one more gets 503 with `Retry-After`.", 1, 100_000)
    ] = 2000
    stream_buffer: Annotated[
        Bytes,
        size(
            "Most bytes held for one client that reads slowly; past it the endpoint's stream waits.", 4 * KIB, 64 * MIB
        ),
    ] = 256 * KIB
    slow_reader_timeout: Annotated[
        Seconds, duration("Time that a client may read nothing at all; past it its connection is closed.", 1, HOUR)
    ] = 5 * MINUTE
    header_timeout: Annotated[Seconds, duration("Time that a client gets to send a request whole.", 1, HOUR)] = MINUTE
    keep_alive: Annotated[
        Seconds,
        duration(
            "A client that has got nothing for this long is sent a sign of life. Codex gives up after 300 s.",
            1,
            4 * MINUTE,
        ),
    ] = 15.0


class ClientsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of a client token that has none of its own."""

    requests_per_minute: Annotated[int, count("Requests in a minute.", 1, 1_000_000, zero_means="no limit")] = 0
    tokens_per_day: Annotated[
        int, count("Tokens in and out in a day.", 1, 1_000_000_000_000, zero_means="no limit")
    ] = 0
    concurrent: Annotated[int, count("Requests under way at once.", 1, 100_000, zero_means="no limit")] = 0


class RecordsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept of each request."""

    enabled: Annotated[bool, switch("Whether requests are recorded.")] = True
    bodies: Annotated[
        Bodies, text("Which are recorded with their bodies. Keys are removed from them, prompts are not.")
    ] = Bodies.FAILED
    body_limit: Annotated[Bytes, size("Most bytes kept of one body.", KIB, 64 * MIB)] = 256 * KIB
    kept_for: Annotated[Seconds, duration("Time after which a request's record is deleted.", MINUTE, 3650 * DAY)] = (
        30 * DAY
    )
    bodies_kept_for: Annotated[Seconds, duration("Time after which its bodies are.", MINUTE, 3650 * DAY)] = 7 * DAY
    total_limit: Annotated[
        Bytes, size("Most bytes of all records together; past it the oldest are deleted.", 16 * MIB, TIB)
    ] = GIB


class Price(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a model costs, in US dollars for a million tokens."""

    model: Annotated[
        str,
        text(
            "Glob for the model's name as the endpoint knows it.",
            max_length=200,
            pattern=r".+",
            pattern_means="a glob such as `gpt-5*`",
        ),
    ]
    endpoint: Annotated[str, text("Glob for the endpoint's name.", max_length=100)] = "*"
    input: Annotated[float, number("Input.", 0, 100_000)] = 0.0
    output: Annotated[float, number("Output, reasoning included.", 0, 100_000)] = 0.0
    cached: Annotated[float, number("Input read from a cache.", 0, 100_000)] = 0.0
    cache_write: Annotated[float, number("Input written to a cache.", 0, 100_000)] = 0.0


class DrainConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the gateway stops."""

    timeout: Annotated[Seconds, duration("Time that requests under way get to end.", 0, HOUR)] = MINUTE


class LogConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The gateway's own log. It never holds keys, and no prompts at `info`."""

    level: Annotated[LogLevel, text("The least important records that are logged.")] = LogLevel.INFO
    file_limit: Annotated[
        Bytes, size("Size at which a log file is rotated.", 64 * KIB, GIB, applies=Applies.RESTART)
    ] = 10 * MIB
    files_kept: Annotated[int, count("Rotated files kept beside the current one.", 0, 100, applies=Applies.RESTART)] = 3


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole configuration. `Config()` is what holds without a file: no endpoint."""

    listen: Annotated[ListenConfig, section("Where clients find the gateway.")] = ListenConfig()
    endpoints: Annotated[
        tuple[Endpoint, ...],
        sections(
            "The upstream model APIs. Their order matters only where names are listed; `priority` decides.",
            most=MAX_ENDPOINTS,
        ),
    ] = ()
    tagging: Annotated[
        TaggingConfig, section("Tags of requests: an endpoint with tags serves only requests that bear one of them.")
    ] = TaggingConfig()
    affinity: Annotated[
        AffinityConfig,
        section("The same conversation goes to the same endpoint, for its prompt cache and its encrypted reasoning."),
    ] = AffinityConfig()
    retries: Annotated[RetryConfig, section("Attempts after a failure, as long as no byte has gone to the client.")] = (
        RetryConfig()
    )
    breaker: Annotated[BreakerConfig, section("When an endpoint or one of its keys is left alone for a while.")] = (
        BreakerConfig()
    )
    health: Annotated[
        HealthConfig,
        section("Active checks of endpoints that are out; the others are judged by their clients' requests."),
    ] = HealthConfig()
    learned: Annotated[LearnedConfig, section("Facts that the gateway learns about endpoints from their refusals.")] = (
        LearnedConfig()
    )
    limits: Annotated[LimitsConfig, section("Bounds that protect the gateway.")] = LimitsConfig()
    clients: Annotated[ClientsConfig, section("Limits of a client token that has none of its own.")] = ClientsConfig()
    records: Annotated[RecordsConfig, section("What is kept of each request.")] = RecordsConfig()
    prices: Annotated[
        tuple[Price, ...],
        sections(
            "What models cost, in US dollars for a million tokens, for the records. The first row that fits counts.",
            most=MAX_PRICES,
        ),
    ] = ()
    drain: Annotated[DrainConfig, section("How the gateway stops.")] = DrainConfig()
    log: Annotated[LogConfig, section("The gateway's own log. It never holds keys, and no prompts at `info`.")] = (
        LogConfig()
    )


def endpoint_named(config: Config, name: str) -> Endpoint | None:
    """Return the endpoint called `name`."""
    return next((endpoint for endpoint in config.endpoints if endpoint.name == name), None)
