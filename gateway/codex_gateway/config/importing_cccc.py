"""Reads the `config.yaml` of CCCC (claude-code-codex-companion) into a configuration of ours.

Its format is that of its `internal/config/types.go` (an endpoint has `url_anthropic` and `url_openai`), and of its
forerunner claude-code-companion (`url` with `endpoint_type`). An endpoint with two URLs becomes two of ours. What has
no counterpart is named in a note, never dropped in silence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import yaml
from codex_control.errors import BadConfig
from codex_control.service.config_key import parse_duration
from codex_control.service.config_reader import decode_config

from codex_gateway.config.model import Config
from codex_gateway.config.reading import parse_config
from codex_gateway.config.rewriting import add_endpoints
from codex_gateway.config.writing import write_config, write_yaml

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_CLIENTS = {"claude_code": "claude-code", "claude-code": "claude-code", "codex": "codex"}
_KNOWN = {
    "name", "url_anthropic", "url_openai", "url_gemini", "url", "endpoint_type", "path_prefix", "auth_type",
    "auth_value", "enabled", "priority", "tags", "model_rewrite", "proxy", "oauth_config", "header_overrides",
    "parameter_overrides", "override_max_tokens", "max_tokens_field_name", "openai_preference", "supports_responses",
    "target_format", "client_type", "native_format", "native_codex_format",
    # What it keeps for itself at run time.
    "rate_limit_reset", "rate_limit_status", "status", "last_check",
}  # fmt: skip
_FOLLOWED = {"server", "endpoints", "logging", "tagging", "timeouts"}


@dataclass(frozen=True)
class Imported:
    """What was read."""

    config: Config
    notes: tuple[str, ...]
    """What was not taken over, or needs a look; they hold no secrets."""

    def text(self, existing: str = "") -> str:
        """The text of a file with it: all of it where `existing` sets nothing, else `existing` with the endpoints."""
        if existing.strip() and parse_config(existing, "config.yaml") != Config():
            return add_endpoints(existing, self.config.endpoints)
        return (existing.rstrip("\n") + "\n" if existing.strip() else "") + write_config(self.config)


def import_cccc(content: str | bytes, source: str) -> Imported:
    """Read a CCCC configuration. Raises `BadConfig` where it is not one."""
    text = decode_config(content, source)
    try:
        root = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadConfig(
            what=f"{source} is not YAML", why=" ".join(str(error).split())[:300], next_step="name CCCC's config.yaml"
        ) from error
    if not isinstance(root, dict) or not isinstance(root.get("endpoints"), list):
        raise BadConfig(
            what=f"{source} is no configuration of CCCC",
            why="it has no list `endpoints`",
            next_step="name the config.yaml that its `-config` option names",
        )
    notes: list[str] = []
    values = _values(root, notes)
    # Our own reader checks bounds and names.
    config = parse_config(write_yaml(values), f"what {source} becomes")
    return Imported(config, tuple(notes))


def _values(root: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    server = _section(root, "server")
    if (port := server.get("port")) and isinstance(port, int):
        notes.append(f"CCCC's port {port} is not taken over, so that both can run; set `listen.port` to use it")
    if (host := str(server.get("host") or "")) and host not in _LOOPBACK:
        notes.append(f"CCCC listens on {host}; this gateway listens on loopback alone")
    timeouts = _section(root, "timeouts")
    waits = {
        ours: timeouts[theirs]
        for ours, theirs in (("connect", "tls_handshake"), ("first_byte", "response_header"))
        if parse_duration(str(timeouts.get(theirs) or ""))
    }
    names: set[str] = set()
    values["endpoints"] = []
    for number, endpoint in enumerate(root["endpoints"]):
        if not isinstance(endpoint, dict):
            notes.append(f"endpoints[{number}] is no section and is left out")
            continue
        for ours in _endpoints(endpoint, number, names, notes):
            values["endpoints"].append(ours | ({"timeouts": waits} if waits else {}))
    health = {
        ours: timeouts[theirs]
        for ours, theirs in (("timeout", "health_check_timeout"), ("interval", "check_interval"))
        if parse_duration(str(timeouts.get(theirs) or ""))
    }
    if health:
        values["health"] = health
    if rules := list(_rules(_section(root, "tagging"), notes)):
        values["tagging"] = {"rules": rules}
    logging = _section(root, "logging")
    if logging:
        kinds, bodies = str(logging.get("log_request_types") or "all"), str(logging.get("log_request_body") or "full")
        values["records"] = {"bodies": "none" if bodies == "none" else "failed" if kinds == "failed" else "all"}
    for name in root:
        if name not in _FOLLOWED and root[name] not in (None, {}, []):
            notes.append(f"`{name}` has no counterpart and is left out")
    return values


def _section(root: Mapping[str, Any], name: str) -> dict[str, Any]:
    section = root.get(name)
    return section if isinstance(section, dict) else {}


def _endpoints(theirs: dict[str, Any], number: int, names: set[str], notes: list[str]) -> Iterator[dict[str, Any]]:
    name = " ".join(str(theirs.get("name") or f"endpoint {number + 1}").replace("/", "-").split())[:90]
    for key in theirs:
        if key not in _KNOWN and theirs[key] not in (None, "", False, [], {}):
            notes.append(f"{name}: `{key}` has no counterpart and is left out")
    if theirs.get("url_gemini"):
        notes.append(f"{name}: its Gemini URL is left out; Google's OpenAI-compatible URL works as dialect `chat`")
    if theirs.get("count_tokens_enabled") is False:
        notes.append(f"{name}: that it has no count_tokens is learned at the first request")
    urls = [(url, dialects) for url, dialects in _urls(theirs) if url]
    if not urls:
        notes.append(f"{name}: it has no URL that can be used and is left out")
        return
    base = _base(theirs, name, notes)
    for url, dialects in urls:
        own = name if len(urls) == 1 else f"{name} ({dialects[0]})"
        place = 2
        while own in names:
            own = f"{name} {place}" if len(urls) == 1 else f"{name} {place} ({dialects[0]})"
            place += 1
        names.add(own)
        yield {"name": own, "url": url, "dialects": dialects} | base


def _urls(theirs: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    openai = _openai_dialects(theirs)
    if old := str(theirs.get("url") or "").strip().rstrip("/"):
        prefix = str(theirs.get("path_prefix") or "").strip("/")
        full = f"{old}/{prefix}" if prefix else old
        if str(theirs.get("endpoint_type") or "anthropic") == "anthropic":
            yield full, ["messages"]
        else:
            yield full, ["chat"] if full.endswith("/chat/completions") else openai
    if anthropic := str(theirs.get("url_anthropic") or "").strip().rstrip("/"):
        yield anthropic, ["messages"]
    if url := str(theirs.get("url_openai") or "").strip().rstrip("/"):
        if url.endswith("/chat/completions"):
            yield url, ["chat"]
        elif url.endswith("/responses"):
            yield url, ["responses"]
        else:
            yield url, openai


def _openai_dialects(theirs: dict[str, Any]) -> list[str]:
    preference = str(theirs.get("openai_preference") or theirs.get("target_format") or "auto")
    if preference in ("responses", "openai_responses"):
        return ["responses"]
    if preference in ("chat_completions", "openai_chat") or theirs.get("supports_responses") is False:
        return ["chat"]
    # CCCC tries /responses out and remembers; so do we.
    return ["chat", "responses"]


def _base(theirs: dict[str, Any], name: str, notes: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if auth := _auth(theirs, name, notes):
        values["auth"] = auth
    if theirs.get("enabled") is False or (str(theirs.get("auth_type")) == "oauth"):
        values["enabled"] = False
    priority = theirs.get("priority")
    # Without one it has 0 or 1 there.
    values["priority"] = priority if isinstance(priority, int) and priority >= 0 else 1
    tags = []
    for tag in _list(theirs.get("tags")):
        ours = _tag(str(tag))
        if ours != tag:
            notes.append(f"{name}: the tag {tag!r} is now {ours!r}")
        tags.append(ours)
    if tags:
        values["tags"] = tags
    rewrite = _section(theirs, "model_rewrite")
    rules = [
        {"source_pattern": str(rule["source_pattern"]), "target_model": str(rule["target_model"])}
        for rule in _list(rewrite.get("rules"))
        if isinstance(rule, dict) and rule.get("source_pattern") and rule.get("target_model")
    ]
    if rules and rewrite.get("enabled") is not False:
        values["model_rewrite"] = rules
    elif rules:
        notes.append(f"{name}: its model rewrite is switched off there and is left out")
    if proxy := _section(theirs, "proxy"):
        if (kind := str(proxy.get("type") or "http")) in _PROXIES:
            values["proxy"] = _proxy(proxy)
        else:
            notes.append(f"{name}: a proxy of type {kind!r} is not known here; it is switched off")
            values["enabled"] = False
    # There, an empty value deletes.
    headers = {str(key): str(value) or None for key, value in _section(theirs, "header_overrides").items()}
    if headers:
        values["header_overrides"] = headers
    if parameters := {str(k): _parameter(v) for k, v in _section(theirs, "parameter_overrides").items()}:
        values["parameter_overrides"] = parameters
    if most := theirs.get("override_max_tokens"):
        values.setdefault("parameter_overrides", {})["max_tokens"] = most
    field = str(theirs.get("max_tokens_field_name") or "")
    if field in ("max_tokens", "max_completion_tokens"):
        values["max_tokens_field"] = field
    elif field and field != "max_output_tokens":
        notes.append(f"{name}: `max_tokens_field_name: {field}` is not known and is left out")
    client = str(theirs.get("client_type") or "")
    if client in _CLIENTS:
        values["clients"] = [_CLIENTS[client]]
    elif client:
        notes.append(f"{name}: `client_type: {client}` has no counterpart; it serves all clients")
    return values


def _auth(theirs: dict[str, Any], name: str, notes: list[str]) -> dict[str, Any]:
    kind, value = str(theirs.get("auth_type") or "auto"), str(theirs.get("auth_value") or "")
    if kind == "oauth":
        notes.append(f"{name}: it logs in with OAuth, which is not renewed here; it is switched off, give it a key")
        return {}
    if not value:
        return {}
    if kind == "auth_token":
        return {"bearer": value}
    return {"api_key": value} | ({"header": "x-api-key"} if kind == "api_key" else {})


_PROXIES = ("http", "socks5", "socks5h")


def _proxy(theirs: dict[str, Any]) -> str:
    login = ""
    if theirs.get("username"):
        login = f"{quote(str(theirs['username']), safe='')}:{quote(str(theirs.get('password') or ''), safe='')}@"
    return f"{theirs.get('type') or 'http'}://{login}{theirs.get('address') or ''}"


def _parameter(value: Any) -> Any:
    # All are texts there, and go out as what they look like.
    if not isinstance(value, str):
        return value
    if value == "":
        return None
    try:
        return json.loads(value)
    except ValueError:
        return value


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _tag(tag: str) -> str:
    ours = re.sub(r"[^A-Za-z0-9._:/-]", "-", tag)[:64]
    return ours if re.match(r"[A-Za-z0-9]", ours) else f"t{ours}"[:64]


def _rules(tagging: dict[str, Any], notes: list[str]) -> Iterator[dict[str, Any]]:
    for number, tagger in enumerate(_list(tagging.get("taggers"))):
        if not isinstance(tagger, dict):
            continue
        name = str(tagger.get("name") or f"tagger {number + 1}")[:100]
        kind = str(tagger.get("builtin_type") or tagger.get("type") or "")
        about = _section(tagger, "config")
        condition = _condition(kind, about)
        if condition is None:
            reason = "is a Starlark script: write it as a `python` rule" if kind == "starlark" else "cannot be read"
            notes.append(f"the tagger {name!r} {reason}; it is left out")
            continue
        rule = {"name": name, "tags": [_tag(str(tagger.get("tag") or name))]} | condition
        yield rule | ({"enabled": False} if tagger.get("enabled") is False else {})


def _condition(kind: str, about: dict[str, Any]) -> dict[str, Any] | None:
    value = str(about.get("expected_value") or about.get("value_pattern") or "")
    match kind:
        case "path" if about.get("path_pattern"):
            return {"path": str(about["path_pattern"])}
        case "header" if about.get("header_name"):
            return {"header": f"{about['header_name']}={value or '*'}"}
        case "query" if about.get("param_name"):
            return {"query": f"{about['param_name']}={value or '*'}"}
        case "body-json" if about.get("json_path"):
            return {"body": f"{about['json_path']}={value or '*'}"}
        case "model" if value:
            return {"model": value}
        case "thinking":
            least = about.get("min_budget_tokens")
            budget = {"thinking_budget_from": int(str(least))} if str(least or "").isdigit() else {}
            return {"thinking": "on"} | budget
        case "user-message" if value:
            pattern = re.escape(value).replace(r"\*", ".*").replace(r"\?", ".")
            return {"user_message": rf"(?s)\A{pattern}\Z"}
        case _:
            return None
