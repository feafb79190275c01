"""Reads an endpoint's 400 and 422 answers: which parameter or feature of the request does it refuse?

Table-driven: `_said` finds the sentences in every common shape of an error, `_TABLE` finds what they refuse. Careful
against false positives: what is named must be in the body that was sent, a sentence must speak of refusal and not of a
wrong value, and what carries the meaning of a request (its messages, its model) is never taken out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from codex_gateway.dialect.neutral import Dialect, JsonObject
from codex_gateway.route.body_paths import resolve, steps_of
from codex_gateway.route.learned import EVIDENCE_CHARACTERS, OF_ENDPOINT, Fact, Topic

MAX_BODY_BYTES = 64 * 1024
"""Longer answers are web pages."""
MAX_SENTENCES = 40
STATUSES = frozenset({400, 404, 405, 415, 422, 500, 501, 502})
"""500 and 502: relays that wrap the refusal of their own upstream; only a clear `invalid_request_error` counts there."""

_KEPT = frozenset(
    [
        "model",
        "messages",
        "input",
        "system",
        "instructions",
        "content",
        "role",
        "text",
        "type",
        "stream",
        "tools",
        "functions",
        "function",
        "name",
        "id",
        "arguments",
        "parameters",
        "input_schema",
        "schema",
        "tool_calls",
        "tool_call_id",
        "tool_use_id",
        "call_id",
        "output",
        "source",
        "data",
        "image_url",
        "file",
        "previous_response_id",
    ]
)
"""Names that carry the meaning: never taken out, wherever they stand. (`name` of a message may go: see `_may_go`.)"""


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """What an endpoint refuses, read from one answer."""

    topic: Topic
    detail: str = ""
    evidence: str = ""

    def fact(self, endpoint: str, model: str, status: int, wall_s: float, kept_for_s: float) -> Fact:
        """The fact to learn."""
        return Fact(
            endpoint=endpoint,
            topic=self.topic,
            detail=self.detail,
            model="" if self.topic in OF_ENDPOINT else model,
            status=status,
            evidence=self.evidence,
            learned_at_s=wall_s,
            expires_at_s=wall_s + kept_for_s,
        )


class _Sentence(msgspec.Struct, frozen=True):
    """One thing that an error says, with the place that the error names beside it."""

    text: str
    place: tuple[str, ...] = ()
    kind: str = ""
    """Its code or type."""


def read_refusal(status: int, body: bytes, sent: JsonObject) -> Refusal | None:
    """Return what the answer refuses of `sent` (the body as the endpoint got it); None where it is about anything else:
    a wrong value, the conversation, the key, the model."""
    if status not in STATUSES or not body or len(body) > MAX_BODY_BYTES:
        return None
    try:
        decoded = json.loads(body)
    except (ValueError, RecursionError):
        decoded = body.decode(errors="replace")
    sentences = list(_limited(_said(decoded)))
    if status in (500, 502) and not any("invalid_request" in one.kind for one in sentences):
        return None
    # A path that is missing says nothing about parameters, but "no endpoint supports tool use" comes as 404 too.
    for sentence in sentences:
        if (refusal := _read(sentence, sent, only_features=status in (404, 405, 501))) is not None:
            return refusal
    return None


def missing_path(status: int, body: bytes, path: str) -> Refusal | None:
    """Return that the endpoint has no such path (`/responses`, `/messages/count_tokens`, `/models`); None where a 404
    is about the model."""
    if status not in (404, 405, 501):
        return None
    text = body[:4096].decode(errors="replace")
    if status == 404 and re.search(r"model", text, re.IGNORECASE):
        return None
    evidence = _evidence(text)
    if path.endswith("/count_tokens"):
        return Refusal(topic=Topic.COUNT_TOKENS, evidence=evidence)
    if path.endswith("/models"):
        return Refusal(topic=Topic.MODELS, evidence=evidence)
    ends = {"/messages": Dialect.MESSAGES, "/chat/completions": Dialect.CHAT, "/responses": Dialect.RESPONSES}
    for end, dialect in ends.items():
        if path.endswith(end):
            return Refusal(topic=Topic.DIALECT, detail=dialect.value, evidence=evidence)
    return None


# --- finding the sentences -------------------------------------------------------------------------------------------

_PYTHON_LIST = re.compile(r"^\s*[\[{(]")
_PYTHON_ERROR = re.compile(
    r"'type': '(?P<type>[a-z_.]+)'.*?'loc': [\[(](?P<loc>[^\])]*)[\])].*?'msg': (?P<quote>['\"])(?P<msg>.*?)(?P=quote)"
)


def _limited(sentences: Iterator[_Sentence]) -> Iterator[_Sentence]:
    for number, sentence in enumerate(sentences):
        if number >= MAX_SENTENCES:
            return
        yield sentence


def _said(node: Any, depth: int = 0) -> Iterator[_Sentence]:
    """Every sentence in an error, whatever its shape.

    {"error": {"message", "param", "code", "type"}}        OpenAI, Azure, Groq, DeepSeek, xAI
    {"type": "error", "error": {"type", "message"}}        Anthropic
    {"detail": [{"loc", "msg", "type"}]} or a text         FastAPI, vLLM, Mistral (as `message.detail`)
    {"object": "error", "message": "[{'type': …}]"}        vLLM: Python's repr in a text
    [{"error": {"message", "details": [{"fieldViolations": [{"field", "description"}]}]}}]       Google
    {"error": {"message", "metadata": {"raw": "<JSON>"}}}  OpenRouter
    {"error": "text"}                                      Ollama
    """
    if depth > 6:
        return
    match node:
        case str():
            yield from _said_in_text(node, depth)
        case list():
            for one in node[:MAX_SENTENCES]:
                yield from _said(one, depth + 1)
        case {"loc": list(loc), "msg": str(message)}:
            yield _Sentence(message, tuple(str(step) for step in loc if step != "body"), str(node.get("type") or ""))
        case {"field": str(place), "description": str(description)}:
            yield _Sentence(description, steps_of(place), "")
        case dict():
            # The inner error first: what a relay says about it ("Provider returned error") is vaguer.
            for name in ("metadata", "upstream_error", "innererror", "error", "errors", "detail", "details", "raw"):
                if isinstance(inner := node.get(name), dict | list | str):
                    yield from _said(inner, depth + 1)
            if isinstance(inner := node.get("fieldViolations"), list):
                yield from _said(inner, depth + 1)
            message = node.get("message") or node.get("msg")
            kind = " ".join(str(node[name]) for name in ("code", "type", "status") if node.get(name))
            param = node.get("param")
            place = steps_of(param) if isinstance(param, str) and param != "validation_error" else ()
            if isinstance(message, str):
                yield from (
                    _Sentence(one.text, one.place or place, f"{one.kind} {kind}")
                    for one in _said_in_text(message, depth)
                )
            elif message is not None:
                yield from _said(message, depth + 1)
        case _:
            return


def _said_in_text(text: str, depth: int) -> Iterator[_Sentence]:
    text = text[:8192]
    if _PYTHON_LIST.match(text):
        try:
            inner = json.loads(text)
        except (ValueError, RecursionError):
            for match in _PYTHON_ERROR.finditer(text):
                loc = tuple(step.strip(" '\"") for step in match["loc"].split(",") if step.strip(" '\""))
                yield _Sentence(match["msg"], tuple(step for step in loc if step != "body"), match["type"])
        else:
            yield from _said(inner, depth + 1)
            return
    yield _Sentence(text)


# --- reading one sentence --------------------------------------------------------------------------------------------

_NAME = r"[`'\"]?(?P<name>[A-Za-z_][A-Za-z0-9_]*(?:(?:\.|\[)[A-Za-z0-9_*\]]+)*)[`'\"]?"

_TABLE: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), source)
    for pattern, source in (
        (rf"^(?:Unknown|Unsupported|Unexpected|Unrecognized|Invalid) (?:request )?(?:parameter|argument|field|key|property)s?"
         rf"(?: supplied| in the request(?: body)?)?:? {_NAME}", "OpenAI, Azure, many"),
        (rf"{_NAME}: Extra inputs are not permitted", "Anthropic"),
        (rf"Extra inputs are not permitted, field: {_NAME}", "Zhipu, Fireworks"),
        (rf"property {_NAME} is (?:unsupported|not supported)", "Groq, Cerebras"),
        (rf"Unknown name {_NAME}(?: at {_NAME.replace('name', 'at')})?: Cannot find field", "Google"),
        (rf"(?:parameter|argument|field|property|option) {_NAME} (?:is|was|are) (?:not (?:supported|allowed|permitted|recognized"
         rf"|valid|available)|unsupported|unknown|unrecognized|unexpected|deprecated)", "many"),
        (rf"{_NAME} (?:is|are) (?:not (?:supported|allowed|permitted|recognized|available)|unsupported|deprecated)"
         rf"(?: (?:by|for|with|on|in) |[.,;]|$)", "many"),
        (rf"does not (?:currently )?support (?:the )?(?:parameter|argument|field|option)s? {_NAME}", "xAI"),
        (rf"(?:does not|doesn't) support (?:this |the |setting )?{_NAME}(?: parameter)?(?:[.,;]|$)", "DeepSeek"),
        (rf"Argument not supported(?: on this model)?: {_NAME}", "xAI"),
        (rf"extraneous key \[?{_NAME}\]? is not permitted", "Amazon Bedrock"),
        (rf"unexpected keyword argument {_NAME}", "Python servers"),
        (rf"Additional properties are not allowed \({_NAME} (?:was|were) unexpected\)", "JSON Schema"),
        (rf"unknown field {_NAME}", "Go and Rust servers"),
        (rf"不支持(?:的)?(?:参数|字段)[:： ]*{_NAME}", "Chinese providers"),
        (rf"{_NAME} ?(?:参数|字段)?不(?:被)?支持", "Chinese providers"),
        (rf"{_NAME} and [`'\"]?[a-z_]+[`'\"]? cannot both be (?:specified|set)", "Anthropic"),
        (rf"Unsupported value: {_NAME} does not support .{{1,80}} with this model. Only the default", "OpenAI"),
        (rf"{_NAME} may only be set to 1 when", "Anthropic"),
    )
)  # fmt: skip
"""Patterns for a sentence that refuses the parameter `name`, each with the makers that say it so."""

_PLACED = re.compile(
    r"extra inputs? (?:is|are) not permitted|extra fields not permitted|unexpected (?:field|property|key)"
    r"|not (?:supported|allowed|permitted)|unsupported|unrecognized|unknown (?:parameter|field|argument|name)|cannot find field",
    re.IGNORECASE,
)
_PLACED_KINDS = re.compile(r"extra_forbidden|unsupported_parameter|unknown_parameter|value_error\.extra", re.IGNORECASE)
"""What a sentence or its code says where the error names the place beside it."""

_VALUE = re.compile(
    r"too (?:large|small|long|short|many|high|low)|must be|should be|expected|out of range|at least|at most|greater|less than"
    r"|supported values|valid (?:values|options)|one of|invalid value|is required|missing|maximum|minimum|exceed",
    re.IGNORECASE,
)
"""Words about a value: the parameter itself is known."""

_INSTEAD = re.compile(r"use [`'\"]?(max_tokens|max_completion_tokens)[`'\"]? instead", re.IGNORECASE)
_NO_TOOLS = re.compile(
    r"(?:does not|doesn't|do not|not) support (?:tool|function)s?(?: ?(?:use|us(?:e|age)|calls?|calling))?\b"
    r"|(?:tool|function)[ _]?(?:use|calls?|calling)? (?:is|are) not (?:supported|available|enabled)"
    r"|no endpoints found that support tool use|support (?:for )?(?:tool|function)s?(?: calling| use)? is not"
    r"|`?--enable-auto-tool-choice`?|不支持(?:工具|函数)调用",
    re.IGNORECASE,
)
_TOOL_CHOICE = re.compile(r"tool[_ ]choice", re.IGNORECASE)
_SYSTEM_MIDWAY = re.compile(
    r"system (?:message|role|prompt)s? (?:must|should|can|may)(?: only)? (?:be|appear|come) (?:at the|in the|the)? ?"
    r"(?:beginning|first|start)|unexpected role [\"'\\]*system|only (?:the )?first message (?:can|may)[^.]{0,30}system"
    r"|only supports? (?:a |one )?(?:single )?system message|system message must be at the beginning",
    re.IGNORECASE,
)
_TOOL_KIND = re.compile(
    r"(?:unsupported|unknown|invalid|hosted) tool(?: type)?:? [`'\"]?(?P<kind>[a-z][a-z0-9_]*)[`'\"]?"
    r"|tool(?: type)? [`'\"](?P<kind2>[a-z][a-z0-9_]*)[`'\"] (?:is|are) (?:not supported|unsupported)"
    r"|tools(?:\[|\.)\d+\]?(?:\.type)?: ?.{0,60}?(?:input )?tag [`'\"](?P<kind3>[a-z][a-z0-9_]*)[`'\"]",
    re.IGNORECASE,
)
_BETA = re.compile(r"[Uu]nexpected value\(s\) (?P<values>.{1,400}?) for the `?anthropic-beta`? header")


def _read(sentence: _Sentence, sent: JsonObject, *, only_features: bool) -> Refusal | None:
    text = sentence.text
    if (match := _BETA.search(text)) is not None:
        return _refusal(Topic.BETA, ",".join(re.findall(r"[A-Za-z0-9._-]+", match["values"])), text)
    if _has_tools(sent) and _NO_TOOLS.search(text) and not _TOOL_CHOICE.search(text):
        return _refusal(Topic.TOOLS, "", text)
    if only_features:
        return None
    if _SYSTEM_MIDWAY.search(text) and _system_midway(sent):
        return _refusal(Topic.SYSTEM_MIDWAY, "", text)
    if (match := _TOOL_KIND.search(text)) is not None:
        kind = match["kind"] or match["kind2"] or match["kind3"]
        kinds = {tool.get("type") for tool in _tools(sent)}
        if kind in kinds and kind not in ("function", "custom"):
            return _refusal(Topic.TOOL_KIND, kind, text)
    for steps in _named(sentence):
        if (refusal := _parameter(steps, sent, text)) is not None:
            return refusal
    return None


def _named(sentence: _Sentence) -> Iterator[tuple[str, ...]]:
    """The places that a sentence refuses: by its words, else by the place that the error names beside it."""
    text = sentence.text
    for pattern, _ in _TABLE:
        for match in pattern.finditer(text):
            steps = steps_of(match["name"].removeprefix("body."))
            groups = match.groupdict()
            yield (*steps_of(groups["at"]), *steps) if groups.get("at") else steps
    if not sentence.place:
        return
    if _PLACED_KINDS.search(sentence.kind) or (_PLACED.search(text) and not _VALUE.search(text)):
        yield sentence.place


def _parameter(steps: tuple[str, ...], sent: JsonObject, text: str) -> Refusal | None:
    path = resolve(sent, steps) or resolve(sent, tuple(_snake(step) for step in steps))
    if path is None:
        return None
    if path[-1] in ("max_tokens", "max_completion_tokens") and len(path) == 1:
        instead = _INSTEAD.search(text)
        other = "max_completion_tokens" if path[-1] == "max_tokens" else "max_tokens"
        if instead is not None and instead[1].lower() != other:
            return None
        return _refusal(Topic.MAX_TOKENS_FIELD, other, text)
    if path in (("tools",), ("functions",)):
        return _refusal(Topic.TOOLS, "", text)
    return _refusal(Topic.PARAMETER, ".".join(path), text) if _may_go(path) else None


def _may_go(path: tuple[str, ...]) -> bool:
    if path[-1] == "*":
        return False
    if path[0] == "messages" and len(path) == 3 and path[-1] == "name":
        return True
    return path[-1] not in _KEPT


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


def _tools(sent: JsonObject) -> list[JsonObject]:
    tools = sent.get("tools")
    return [tool for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []


def _has_tools(sent: JsonObject) -> bool:
    return bool(_tools(sent)) or bool(sent.get("functions"))


def _system_midway(sent: JsonObject) -> bool:
    listed = sent.get("messages") or sent.get("input")
    if not isinstance(listed, list):
        return False
    roles = [one.get("role") for one in listed if isinstance(one, dict)]
    head = 1 if "messages" in sent and "system" not in sent and "anthropic_version" not in sent else 0
    return any(role in ("system", "developer") for role in roles[head:]) or (
        roles[:1] == ["system"] and "system" in sent
    )


_SECRET: Callable[[str], str] = lambda text: re.sub(
    r"\b(?:sk|pk|key|gsk|xai|AIza)[-_A-Za-z0-9]{12,}", "[removed]", text
)  # noqa: E731


def _evidence(text: str) -> str:
    text = _SECRET(" ".join(text.split()))
    return text if len(text) <= EVIDENCE_CHARACTERS else text[: EVIDENCE_CHARACTERS - 1] + "…"


def _refusal(topic: Topic, detail: str, text: str) -> Refusal:
    return Refusal(topic=topic, detail=detail, evidence=_evidence(text))
