"""Writes the reference page docs/gateway-configuration.md, and shows the configuration in force without its secrets."""

from __future__ import annotations

from typing import Any

import msgspec
from codex_control.service.config_key import Key, Kind, keys_of
from codex_control.service.config_meanings import meanings_of

from codex_gateway.config.model import Config
from codex_gateway.config.reading import SECRET_HEADERS
from codex_gateway.config.writing import values_to_write, write_yaml

HIDDEN = "[hidden]"


def config_reference() -> str:
    """Write the reference page."""
    lines = [
        "# Configuration of the gateway",
        "",
        "<!-- Generated from the code by `make docs`: edit codex_gateway/config in its place. -->",
        "",
        "The file is `~/.config/codex-gateway/config.yaml` (below `$XDG_CONFIG_HOME` where that is set;",
        "`CODEX_GATEWAY_CONFIG` names another one). For every key that is left out, the default holds. Other users",
        "must not be able to write it, and not to read it where a key or a password stands in it: `chmod 600`.",
        "",
        "- `codex-gateway config check` names every mistake with its line, `config show` prints what is in force.",
        "- The file is read again when it changes, or on SIGHUP. A file with a mistake changes nothing, and",
        "  neither does one that is gone.",
        "- A **duration** is written `250ms`, `30s`, `15m`, `1h30m`, `7d`, or as a number of seconds.",
        "- A **size** is written `512MiB` (1024 · 1024 bytes), `1MB` (1000 · 1000 bytes), or as a number of bytes.",
        "- A **glob** fits a whole text: `*` stands for any text, `?` for one character.",
        "- Anchors, aliases and tags are refused; the file may have at most 256 KiB.",
        "",
        "```yaml",
        "endpoints:",
        "  - name: anthropic",
        "    url: https://api.anthropic.com",
        "    auth: {env: ANTHROPIC_API_KEY}",
        "    priority: 10",
        "  - name: deepseek",
        "    url: https://api.deepseek.com/v1",
        "    dialects: [chat]",
        "    auth:",
        "      keys:",
        "        - {name: team, file: ~/.secrets/deepseek, weight: 3}",
        "        - {name: mine, command: [pass, show, deepseek]}",
        "    model_rewrite:",
        "      - {source_pattern: 'claude-*', target_model: deepseek-chat}",
        "    tags: [cheap]",
        "tagging:",
        "  rules:",
        "    - {tags: [cheap], model: 'claude-*-haiku-*'}",
        "```",
        "",
        "## Which endpoint serves a request",
        "",
        "1. Those are left out that are disabled, serve other clients alone, want a tag that the request has not, have",
        "   not the model, lack every dialect, are left alone after failures, or have no key that works. Where none is",
        "   left, the error names each with its reason.",
        "2. The conversation's own endpoint comes first, while it is not left out (`affinity`).",
        "3. Where the request has tools, endpoints that refused tools come last.",
        "4. Endpoints one of whose tags the request bears come before those without tags.",
        "5. A lower `priority` comes first. Among equals, an endpoint that speaks the client's own dialect comes",
        "   before one that needs a conversion. What is then left shares requests in proportion to `weight`.",
    ]
    for section in keys_of(Config):
        lines += ["", f"## {section.name}", "", section.description.text]
        prefix = f"{section.name}[]" if section.description.kind is Kind.SECTIONS else section.name
        assert section.section is not None  # noqa: S101 (all are sections)
        lines += _tables(prefix, section.section)
    return "\n".join(lines) + "\n"


def shown_values(config: Config) -> dict[str, Any]:
    """What is set, as plain values, with `[hidden]` in the place of secrets."""
    values = values_to_write(config)
    _hide(values, Config)
    return values


def show_config(config: Config) -> str:
    """Write what is set as YAML, with `[hidden]` in the place of secrets."""
    values = shown_values(config)
    return write_yaml(values) if values else "# All defaults: no endpoint.\n"


def _hide(values: dict[str, Any], model: type[msgspec.Struct]) -> None:
    for key in keys_of(model):
        if key.name not in values:
            continue
        value = values[key.name]
        if isinstance(value, list) and key.section is not None:
            for one in value:
                _hide(one, key.section)
        elif isinstance(value, dict) and key.section is not None:
            _hide(value, key.section)
        elif key.description.kind is Kind.TEXT_MAP:
            values[key.name] = {
                name: HIDDEN if one and SECRET_HEADERS.fullmatch(name) else one for name, one in value.items()
            }
        elif key.description.secret and (key.name != "proxy" or "@" in str(value)):
            values[key.name] = HIDDEN
        elif key.name == "url" and "?" in value:
            # Some makers want the key in the query.
            values[key.name] = f"{value.partition('?')[0]}?{HIDDEN}"


def _tables(prefix: str, model: type[msgspec.Struct]) -> list[str]:
    """The keys of a section in one table, then the sections below it."""
    rows = ["", "| key | value | default | meaning | a change applies |", "| --- | --- | --- | --- | --- |"]
    below: list[str] = []
    for key in keys_of(model):
        name = f"{prefix}.{key.name}"
        if key.section is not None:
            inner = f"{name}[]" if key.description.kind is Kind.SECTIONS else name
            below += ["", f"### {inner}", "", key.description.text, *_tables(inner, key.section)]
        else:
            rows.append(_row(name, key))
    return (rows if len(rows) > 3 else []) + below


def _row(name: str, key: Key) -> str:
    bounds = key.bounds()
    kind = key.description.kind.value
    if key.choices is not None:
        kind = "list of choices" if key.description.kind is Kind.TEXTS else "choice"
    meaning = key.description.text
    if key.choices is not None:
        said = meanings_of(key.choices)
        meaning += "".join(f"<br>`{member}`: {said[member.value]}" for member in key.choices)
    default = "required" if key.default is msgspec.NODEFAULT else f"`{key.format(key.default)}`"
    cells = [f"`{name}`", kind + (f": {bounds}" if bounds else ""), default, meaning, key.description.applies.value]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
