"""Reads config.yaml into the model, and says of every mistake where it is and how it is put right.

All mistakes are collected, so that a person corrects the file once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import yaml
from codex_control.errors import UnsafePath
from codex_control.service.config_reader import ConfigReader, decode_config, place_of, read_config_file, short
from codex_control.service.yaml_nodes import Problems, Refused, compose

from codex_gateway.config.endpoint import Auth, Endpoint, KeySource
from codex_gateway.config.model import Config, TaggingRule
from codex_gateway.config.urls import dialect_of_full_url, has_a_host

PROGRAM = "codex-gateway"
MAX_DEPTH = 16
"""`endpoints[].auth.keys[].command[]` is at 9; values of `parameter_overrides` may go deeper."""
SECRET_HEADERS = re.compile(r"authorization|cookie|.*(key|token|secret|password).*", re.IGNORECASE)

_SOURCES = ("api_key", "bearer", "env", "file", "command")


def load_config(path: Path) -> Config:
    """Read the configuration file; a missing one means the defaults, which have no endpoint.

    Raises `BadConfig` where it cannot be read or is wrong, `UnsafePath` where another user may write it, or may read it
    although it holds secrets.
    """
    read = read_config_file(path)
    if read is None:
        return Config()
    content, mode = read
    config = parse_config(content, str(path))
    if mode & 0o077 and (where := next(secrets_in(config), "")):
        raise UnsafePath(
            what=f"{path} can be read by other users and holds a secret (`{where}`)",
            why=f"its mode is {mode:04o}",
            next_step=f"run `chmod 600 {path}`",
        )
    return config


def parse_config(text: str | bytes, source: str) -> Config:
    """Read a configuration from text; `source` names it in errors.

    Raises `BadConfig` that names line, column, key and the nearest right name of every mistake, and nothing else. It
    shows no secret.
    """
    text = decode_config(text, source)
    problems = Problems(source, PROGRAM)
    root: yaml.Node | None = None
    try:
        root = compose(text, MAX_DEPTH)
    except Refused as refused:
        problems.add(refused.mark, refused.what, refused.fix)
    problems.raise_if_any()
    values = ConfigReader(problems, Config).section(root, Config, "")
    problems.raise_if_any()
    config = msgspec.convert(values, Config)
    _check_together(config, root, problems)
    problems.raise_if_any()
    return config


def secrets_in(config: Config) -> Iterator[str]:
    """Yield the keys of the file whose values are secrets."""
    for number, endpoint in enumerate(config.endpoints):
        path = f"endpoints[{number}]"
        auth = endpoint.auth
        sources: list[tuple[str, KeySource]] = [(f"{path}.auth", auth)]
        sources += [(f"{path}.auth.keys[{place}]", key) for place, key in enumerate(auth.keys)]
        for where, source in sources:
            if source.api_key:
                yield f"{where}.api_key"
            if source.bearer:
                yield f"{where}.bearer"
        if "@" in endpoint.proxy:
            yield f"{path}.proxy"
        for name, value in endpoint.header_overrides.items():
            if value and SECRET_HEADERS.fullmatch(name):
                yield f"{path}.header_overrides.{name}"
        if re.search(r"[?&][^=&]*(key|token|secret)[^=&]*=", endpoint.url, re.IGNORECASE):
            yield f"{path}.url"


def _check_together(config: Config, root: yaml.Node | None, problems: Problems) -> None:
    """What no key can say by itself."""
    seen: dict[str, int] = {}
    for number, endpoint in enumerate(config.endpoints):
        where = ("endpoints", number)
        if endpoint.name in seen:
            problems.add(
                place_of(root, *where, "name"),
                f"two endpoints are called {short(endpoint.name)!r}: `endpoints[{seen[endpoint.name]}]` is the other",
                "give one of them another name",
            )
        seen[endpoint.name] = number
        _check_endpoint(endpoint, number, root, problems)
    for number, rule in enumerate(config.tagging.rules):
        _check_rule(rule, number, root, problems)
    for section, low, high in (("retries", "backoff_initial", "backoff_max"), ("breaker", "open_for", "open_for_max")):
        values = getattr(config, section)
        if getattr(values, low) > getattr(values, high):
            problems.add(
                place_of(root, section, low), f"`{section}.{low}` is larger than `{section}.{high}`", "make it smaller"
            )


def _check_endpoint(endpoint: Endpoint, number: int, root: yaml.Node | None, problems: Problems) -> None:
    path = f"endpoints[{number}]"
    for name in ("dialects", "clients"):
        listed = getattr(endpoint, name)
        place = place_of(root, "endpoints", number, name)
        if not listed:
            problems.add(place, f"`{path}.{name}` is empty", "name at least one, or leave the key out")
        elif len(set(listed)) < len(listed):
            problems.add(place, f"`{path}.{name}` names one twice", "keep one of them")
    no_host = [name for name in ("url", "proxy") if not has_a_host(getattr(endpoint, name))]
    for name in no_host:
        place = place_of(root, "endpoints", number, name)
        problems.add(place, f"the host or the port of `{path}.{name}` cannot be", "correct it")
    only = None if no_host else dialect_of_full_url(endpoint.url)
    if only is not None and endpoint.dialects != (only,):
        problems.add(
            place_of(root, "endpoints", number, "url"),
            f"`{path}.url` is the full URL of the dialect `{only}`, and `dialects` is {', '.join(endpoint.dialects)}",
            f"write `dialects: [{only}]`, or end the URL before `{_last_part(endpoint.url)}`",
        )
    for name, value in endpoint.header_overrides.items():
        place = place_of(root, "endpoints", number, "header_overrides", name)
        if name.lower() in _FRAMING and value is not None:
            problems.add(
                place,
                f"`{path}.header_overrides.{name}` would say where requests begin and end, or how answers are packed",
                "leave it to the gateway",
            )
        elif value is not None and not _HEADER_VALUE.fullmatch(value):
            problems.add(
                place,
                f"the value of `{path}.header_overrides.{name}` has a line break, or what no header may have",
                "write it in one line of Latin characters",
            )
    _check_auth(endpoint.auth, number, root, problems)


_FRAMING = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-connection",
        "content-length",
        "transfer-encoding",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "content-encoding",
        "accept-encoding",
    )
)
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


def _last_part(url: str) -> str:
    path = urlsplit(url).path.rstrip("/")
    return "/chat/completions" if path.endswith("/chat/completions") else "/" + path.rpartition("/")[2]


def _check_auth(auth: Auth, number: int, root: yaml.Node | None, problems: Problems) -> None:
    path = f"endpoints[{number}].auth"
    place = place_of(root, "endpoints", number, "auth")
    written = _written(auth)
    if auth.keys and written:
        problems.add(place, f"`{path}` has `keys` and `{written[0]}`", "move the one key into the pool")
    elif len(written) > 1:
        problems.add(place, f"`{path}` has {' and '.join(f'`{name}`' for name in written)}", "keep one of them")
    names: set[str] = set()
    for position, key in enumerate(auth.keys):
        place = place_of(root, "endpoints", number, "auth", "keys", position)
        here = f"{path}.keys[{position}]"
        written = _written(key)
        if not written:
            problems.add(place, f"`{here}` holds no key", f"add one of {', '.join(f'`{name}`' for name in _SOURCES)}")
        elif len(written) > 1:
            problems.add(place, f"`{here}` has {' and '.join(f'`{name}`' for name in written)}", "keep one of them")
        if (name := key.name or str(position + 1)) in names:
            problems.add(place, f"two keys of `{path}` are called {short(name)!r}", "give one of them another name")
        names.add(name)


def _written(source: KeySource) -> list[str]:
    return [name for name in _SOURCES if getattr(source, name)]


def _check_rule(rule: TaggingRule, number: int, root: yaml.Node | None, problems: Problems) -> None:
    path = f"tagging.rules[{number}]"
    place = place_of(root, "tagging", "rules", number)
    bare = TaggingRule(name=rule.name, tags=rule.tags, enabled=rule.enabled)
    if rule == bare:
        problems.add(place, f"`{path}` has no condition", "add one, such as `model: claude-*-haiku-*`")
    if not rule.tags and not rule.python:
        problems.add(place, f"`{path}` gives no tags", "add `tags: [name]`")
    if rule.thinking_budget_to and rule.thinking_budget_from > rule.thinking_budget_to:
        problems.add(
            place_of(root, "tagging", "rules", number, "thinking_budget_from"),
            f"`{path}.thinking_budget_from` is larger than `thinking_budget_to`",
            "make it smaller",
        )
    if rule.user_message:
        try:
            re.compile(rule.user_message)
        except (re.error, RecursionError, OverflowError) as error:
            problems.add(
                place_of(root, "tagging", "rules", number, "user_message"),
                f"`{path}.user_message` is no regular expression: {error}",
                "put a backslash before signs that stand for themselves",
            )
