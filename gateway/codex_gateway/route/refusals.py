"""Reads an endpoint's 400 and 422 answers: which parameter or feature of the request does it refuse?

Table-driven: `_said` finds the sentences in every common shape of an error, `_TABLE` finds what they refuse. Careful
against false positives: what is named must be in the body that was sent, a sentence must speak of refusal and not of a
wrong value, and what carries the meaning of a request (its messages, its model) is never taken out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec
from codex_control.service.redaction import redact

from codex_gateway.dialect.neutral import Dialect, JsonObject
from codex_gateway.route.body_paths import resolve, steps_of
from codex_gateway.route.learned import EVIDENCE_CHARACTERS, OF_ENDPOINT, Fact, Topic
from codex_gateway.route.refusal_shapes import Sentence, sentences_of

MAX_BODY_BYTES = 64 * 1024
"""Longer answers are web pages."""
STATUSES = frozenset({400, 404, 405, 415, 422, 500, 501, 502})
"""500 and 502: relays that wrap the refusal of their own upstream; only a clear `invalid_request_error` counts."""

MISSING_DIALECT_KEPT_FOR_S = 3600.0
"""A server that is being set up answers 404 too, and an endpoint without any dialect left is not asked: so this is
found out anew before long."""

_KEPT = frozenset(
    """
    model messages input system instructions content role text type stream tools functions function name id arguments
    parameters input_schema schema tool_calls tool_call_id tool_use_id call_id output source data image_url file
    previous_response_id
    """.split()  # noqa: SIM905 (one name to a line would fill a page)
)
"""Names that carry the meaning: never taken out, wherever they stand. (`name` of a message may go: see `_may_go`.)"""


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """What an endpoint refuses, read from one answer."""

    topic: Topic
    detail: str = ""
    evidence: str = ""

    def fact(self, endpoint: str, model: str, status: int, wall_s: float, kept_for_s: float) -> Fact:
        """The fact to learn."""
        if self.topic is Topic.DIALECT:
            kept_for_s = min(kept_for_s, MISSING_DIALECT_KEPT_FOR_S)
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


def read_refusal(status: int, body: bytes, sent: JsonObject) -> Refusal | None:
    """Return what the answer refuses of `sent` (the body as the endpoint got it); None where it is about anything else:
    a wrong value, the conversation, the key, the model."""
    if status not in STATUSES or not body or len(body) > MAX_BODY_BYTES:
        return None
    sentences = sentences_of(body)
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


# --- reading one sentence --------------------------------------------------------------------------------------------

_NAME = r"[`'\"]?(?P<name>[A-Za-z_][A-Za-z0-9_]*(?:(?:\.|\[)[A-Za-z0-9_*\]]+)*)[`'\"]?"

_NOT = r"(?:not (?:supported|allowed|permitted|recognized|valid|available)|unsupported|unknown|unrecognized|deprecated)"
_WHAT = r"(?:parameter|argument|field|key|property)"
_WHERE = r"(?: supplied| in the request(?: body)?)?"
_AT = _NAME.replace("<name>", "<at>")

_TABLE = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # OpenAI, Azure, and all that copy them
        rf"^(?:Unknown|Unsupported|Unexpected|Unrecognized) (?:request )?{_WHAT}s?{_WHERE}:? {_NAME}",
        rf"Unsupported value: {_NAME} does not support .{{1,80}} with this model. Only the default",
        # Anthropic
        rf"{_NAME}: Extra inputs are not permitted",
        rf"{_NAME} and [`'\"]?[a-z_]+[`'\"]? cannot both be (?:specified|set)",
        rf"{_NAME} may only be set to 1 when",
        # Zhipu, Fireworks
        rf"Extra inputs are not permitted, field: {_NAME}",
        # Groq, Cerebras
        rf"property {_NAME} is (?:unsupported|not supported)",
        # Google
        rf"Unknown name {_NAME}(?: at {_AT})?: Cannot find field",
        # xAI
        rf"does not (?:currently )?support (?:the )?(?:parameter|argument|field|option)s? {_NAME}",
        rf"Argument not supported(?: on this model)?: {_NAME}",
        # DeepSeek, Ollama
        rf"(?:does not|doesn't) support (?:this |the |setting )?{_NAME}(?: parameter)?(?:[.,;]|$)",
        # Amazon Bedrock
        rf"extraneous key \[?{_NAME}\]? is not permitted",
        # servers in Python, Go and Rust; JSON Schema
        rf"unexpected keyword argument {_NAME}",
        rf"unknown field {_NAME}",
        rf"Additional properties are not allowed \({_NAME} (?:was|were) unexpected\)",
        # Chinese providers
        rf"不支持(?:的)?(?:参数|字段)[: ]*{_NAME}",
        rf"{_NAME} ?(?:参数|字段)?不(?:被)?支持",
        # many
        rf"(?:parameter|argument|field|property|option) {_NAME} (?:is|was|are) {_NOT}",
        rf"{_NAME} (?:is|are) {_NOT}(?: (?:by|for|with|on|in) |[.,;]|$)",
    )
)
"""Patterns for a sentence that refuses the parameter `name`."""

_PLACED = re.compile(
    r"extra inputs? (?:is|are) not permitted|extra fields not permitted|unexpected (?:field|property|key)"
    r"|not (?:supported|allowed|permitted)|unsupported|unrecognized|unknown (?:parameter|field|argument|name)"
    r"|cannot find field",
    re.IGNORECASE,
)
_PLACED_KINDS = re.compile(r"extra_forbidden|unsupported_parameter|unknown_parameter|value_error\.extra", re.IGNORECASE)
"""What a sentence or its code says where the error names the place beside it."""

_VALUE = re.compile(
    r"too (?:large|small|long|short|many|high|low)|must be|should be|\bexpected|out of range|at least|at most|greater"
    r"|less than|supported values|valid (?:values|options)|one of|invalid value|is required"
    r"|missing|maximum|minimum|exceed",
    re.IGNORECASE,
)
"""Words about a value: the parameter itself is known."""

_INSTEAD = re.compile(r"use [`'\"]?(max_tokens|max_completion_tokens)[`'\"]? instead", re.IGNORECASE)
_NO_TOOLS = re.compile(
    r"(?:does not|doesn't|do not|not) support (?:tool|function)s?(?: ?(?:use|us(?:e|age)|calls?|calling))?\b"
    r"|(?:tool|function)[ _]?(?:use|calls?|calling)?[`'\"]? (?:is|are) not (?:supported|available|enabled)"
    r"|no endpoints found that support tool use|support (?:for )?(?:tool|function)s?(?: calling| use)? is not"
    r"|不支持(?:工具|函数)调用",
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


def _read(sentence: Sentence, sent: JsonObject, *, only_features: bool) -> Refusal | None:
    text = sentence.text
    if (match := _BETA.search(text)) is not None:
        return _refusal(Topic.BETA, ",".join(re.findall(r"[A-Za-z0-9._-]+", match["values"])), text)
    # vLLM speaks of the choice where it was started without any tool parser.
    no_tools = "--enable-auto-tool-choice" in text or (_NO_TOOLS.search(text) and not _TOOL_CHOICE.search(text))
    if no_tools and _has_tools(sent):
        return _refusal(Topic.TOOLS, "", text)
    if only_features:
        return None
    if _SYSTEM_MIDWAY.search(text) and _system_midway(sent):
        return _refusal(Topic.SYSTEM_MIDWAY, "", text)
    if (match := _TOOL_KIND.search(text)) is not None:
        kind = match["kind"] or match["kind2"] or match["kind3"]
        kinds = [tool.get("type") for tool in _tools(sent)]  # no set: clients write anything there
        if kind in kinds and kind not in ("function", "custom"):
            return _refusal(Topic.TOOL_KIND, kind, text)
    for steps in _named(sentence):
        if (refusal := _parameter(steps, sent, text)) is not None:
            return refusal
    return None


def _named(sentence: Sentence) -> Iterator[tuple[str, ...]]:
    """The places that a sentence refuses: by its words, else by the place that the error names beside it."""
    text = sentence.text
    for pattern in _TABLE:
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
    """Whether system text stands anywhere but at the head."""
    listed = sent.get("messages") or sent.get("input")
    roles = [one.get("role") for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    heads = 0 if "system" in sent or "instructions" in sent else 1
    return any(role in ("system", "developer") for role in roles[heads:])


def _evidence(text: str) -> str:
    text = redact(" ".join(text.split()))
    return text if len(text) <= EVIDENCE_CHARACTERS else text[: EVIDENCE_CHARACTERS - 1] + "…"


def _refusal(topic: Topic, detail: str, text: str) -> Refusal:
    return Refusal(topic=topic, detail=detail, evidence=_evidence(text))
