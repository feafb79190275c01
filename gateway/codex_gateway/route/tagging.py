"""Tags of a request by the rules of the configuration. Pure: conditions that take time are handed on, not waited for.

A rule's quick conditions are looked at here. Those of its conditions that may take long, a regular expression and a
`python` function, are named in `Tagging.slow`; `codex_gateway.tagger` answers them, with a time limit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from codex_gateway.config.model import TaggingConfig, TaggingRule, Thinking
from codex_gateway.dialect.neutral import Dialect
from codex_gateway.route.body_paths import look_up, steps_of
from codex_gateway.route.globs import matches

MAX_USER_TEXT = 64 * 1024
"""Characters of the newest user message that a regular expression sees."""
# What Responses and Chat call effort, as the budgets that Anthropic's own tools give the same words.
EFFORT_BUDGETS = {"none": 0, "minimal": 1024, "low": 4096, "medium": 16_384, "high": 32_768}
_MOST_EFFORT = 65_536


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request as the rules see it."""

    path: str
    """Without the prefix `/s/<token>` and without the query."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """By lower-case names, without credentials."""
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    dialect: Dialect = Dialect.MESSAGES

    @property
    def model(self) -> str:
        """The model that the client names."""
        model = self.body.get("model")
        return model if isinstance(model, str) else ""


@dataclass(frozen=True)
class Slow:
    """A rule whose quick conditions are all met, and what is left to find out."""

    rule: TaggingRule
    pattern: str = ""
    """To be searched in `text`."""
    text: str = ""
    python: str = ""
    """To be called."""


@dataclass(frozen=True)
class Tagging:
    """What the quick conditions say."""

    tags: frozenset[str] = frozenset()
    slow: tuple[Slow, ...] = ()


def tags_of(asked: Asked, settings: TaggingConfig) -> Tagging:
    """Look at all rules."""
    if not settings.rules:
        return _NONE
    tags: set[str] = set()
    slow: list[Slow] = []
    for rule in settings.rules:
        if not rule.enabled or not _quick(rule, asked):
            continue
        if rule.user_message or rule.python:
            text = newest_user_text(asked) if rule.user_message else ""
            if rule.user_message and not text:
                continue
            slow.append(Slow(rule, rule.user_message, text, rule.python))
        else:
            tags.update(rule.tags)
    return Tagging(frozenset(tags), tuple(slow))


_NONE = Tagging()


def _quick(rule: TaggingRule, asked: Asked) -> bool:
    if rule.path and not matches(rule.path, asked.path):
        return False
    if rule.model and not matches(rule.model, asked.model):
        return False
    if rule.header and not _named(rule.header, asked.headers, lower=True):
        return False
    if rule.query and not _named(rule.query, asked.query):
        return False
    if rule.body and not _in_body(rule.body, asked.body):
        return False
    return _thinking(rule, asked)


def _named(condition: str, values: Mapping[str, str], *, lower: bool = False) -> bool:
    name, equals, glob = condition.partition("=")
    value = values.get(name.strip().lower() if lower else name)
    return value is not None and (not equals or matches(glob, value))


def _in_body(condition: str, body: Mapping[str, Any]) -> bool:
    place, equals, glob = condition.partition("=")
    for value in look_up(body, steps_of(place.strip())):
        match value:
            case _ if not equals:
                return True
            case bool():
                written = "true" if value else "false"
            case str() | int() | float():
                written = str(value)
            case None:
                written = "null"
            case _:
                # A section or a list: it is there, which only `*` asks for.
                written = ""
        if matches(glob, written):
            return True
    return False


def _thinking(rule: TaggingRule, asked: Asked) -> bool:
    if rule.thinking is Thinking.ANY and not rule.thinking_budget_from and not rule.thinking_budget_to:
        return True
    budget = thinking_budget(asked.body)
    if rule.thinking is Thinking.OFF or (rule.thinking is Thinking.ON and not budget):
        return rule.thinking is Thinking.OFF and not budget
    if budget < rule.thinking_budget_from:
        return False
    return not rule.thinking_budget_to or budget <= rule.thinking_budget_to


def thinking_budget(body: Mapping[str, Any]) -> float:
    """Return the thinking budget that a request names, in tokens; 0 for none.

    An effort counts as the budget of the same word; adaptive thinking without an effort is infinite: it has no bound.
    """
    thinking = body.get("thinking")
    if isinstance(thinking, dict):
        kind = thinking.get("type")
        if kind == "disabled":
            return 0.0
        budget = thinking.get("budget_tokens")
        if isinstance(budget, int | float) and not isinstance(budget, bool):
            return float(budget)
        effort = next(look_up(body, ("output_config", "effort")), None)
        if isinstance(effort, str):
            return float(EFFORT_BUDGETS.get(effort, _MOST_EFFORT))
        return math.inf if kind in ("adaptive", "enabled") else 0.0
    effort = body.get("reasoning_effort") or next(look_up(body, ("reasoning", "effort")), None)
    return float(EFFORT_BUDGETS.get(effort, _MOST_EFFORT)) if isinstance(effort, str) and effort else 0.0


def newest_user_text(asked: Asked) -> str:
    """Return the text of the newest message that a user wrote, its end where it is long. Tool results are none."""
    listed = asked.body.get("input" if asked.dialect is Dialect.RESPONSES else "messages")
    if isinstance(listed, str):
        return listed[-MAX_USER_TEXT:]
    if not isinstance(listed, list):
        return ""
    for message in reversed(listed):
        if isinstance(message, dict) and message.get("role") == "user":
            text = "\n".join(_texts(message.get("content")))
            if text:
                return text[-MAX_USER_TEXT:]
    return ""


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content:
            if isinstance(part, dict) and part.get("type") in ("text", "input_text"):
                text = part.get("text")
                if isinstance(text, str):
                    yield text
