"""Requests that stay in their dialect: everything as it came but for what the endpoint would refuse.

Only what is changed is copied. A request that needs more (tools flattened, tools as text) takes the way through the
neutral model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from codex_gateway.dialect.messages.write_request import calls_come_after_thinking
from codex_gateway.dialect.neutral import Dialect, RedactedThinking, Thinking
from codex_gateway.dialect.prepare import BILLING_HEADER
from codex_gateway.dialect.reading import Wrong, need_list, need_text, obj
from codex_gateway.dialect.seal import MARK, unseal

if TYPE_CHECKING:
    from codex_gateway.dialect.facts import Facts
    from codex_gateway.dialect.neutral import JsonObject


def kept(body: JsonObject, facts: Facts) -> JsonObject:
    """`body` for the endpoint: the very same object where nothing had to be changed.

    :raises Wrong: with the path of what is wrong; only what every endpoint would refuse is looked at
    """
    if need_text(body, "model") != facts.model:
        body = {**body, "model": facts.model}
    match facts.dialect:
        case Dialect.MESSAGES:
            return _messages(body, facts)
        case Dialect.CHAT:
            return _chat(body, facts)
        case Dialect.RESPONSES:
            return _responses(body, facts)


def _messages(body: JsonObject, facts: Facts) -> JsonObject:
    system = body.get("system")
    if not facts.native and isinstance(system, list):
        left = [block for block in system if not _is_billing(block)]
        if len(left) != len(system):
            body = {**body, "system": left}
    messages: list[JsonObject] = []
    changed = False
    given = need_list(body, "messages")
    for index, message in enumerate(given):
        new = _message(obj(message, "messages", index), facts)
        changed = changed or new is not message
        if new is not None:
            messages.append(new)
    if not changed:
        return body
    body = {**body, "messages": messages}
    thinking = body.get("thinking")
    if isinstance(thinking, dict) and thinking.get("type") == "enabled" and not calls_come_after_thinking(messages):
        # Without its thinking, a call may not stand in a turn that has a thinking budget.
        body.pop("thinking")
        management = body.get("context_management")
        if isinstance(management, dict):
            edits = [edit for edit in management.get("edits") or () if "thinking" not in str(edit)]
            body["context_management"] = {**management, "edits": edits}
    return body


def _is_billing(block: Any) -> bool:
    return isinstance(block, dict) and str(block.get("text", "")).startswith(BILLING_HEADER)


def _message(message: JsonObject, facts: Facts) -> JsonObject | None:
    content = message.get("content")
    if facts.refuses_system_midway and message.get("role") == "system":
        return {"role": "user", "content": [{"type": "text", "text": f"<system>\n{_plain(content)}\n</system>"}]}
    if message.get("role") != "assistant" or not isinstance(content, list):
        return message
    blocks = [new for block in content if (new := _block(block, facts)) is not None]
    if all(new is block for new, block in zip(blocks, content, strict=False)) and len(blocks) == len(content):
        return message
    if all(isinstance(block, dict) and "thinking" in str(block.get("type")) for block in blocks):
        return None
    return {**message, "content": blocks}


def _block(block: Any, facts: Facts) -> Any:
    """The block, another one in its place, or None: thinking with a proof that the endpoint does not know."""
    if not isinstance(block, dict):
        return block
    kind = block.get("type")
    if kind not in ("thinking", "redacted_thinking"):
        return block
    if facts.drop_signatures:
        return None
    proof = block.get("signature" if kind == "thinking" else "data")
    if not proof:
        return None if facts.native else block
    if not isinstance(proof, str) or not proof.startswith(MARK):
        return block
    match unseal(proof, str(block.get("thinking", ""))):
        case Thinking(origin=Dialect.MESSAGES) as part:
            return {"type": "thinking", "thinking": part.text, "signature": part.signature}
        case RedactedThinking(origin=Dialect.MESSAGES) as part:
            return {"type": "redacted_thinking", "data": part.data}
        case _:
            return None


def _plain(content: Any) -> str:
    """Text of a message's content, whatever its form."""
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []
    return "\n\n".join(str(block.get("text", "")) for block in blocks if isinstance(block, dict))


def _chat(body: JsonObject, facts: Facts) -> JsonObject:
    messages = need_list(body, "messages")
    name = facts.max_tokens_field
    if name:
        other = "max_completion_tokens" if name == "max_tokens" else "max_tokens"
        if other in body and name not in body:
            body = {**body, name: body[other]}
            del body[other]
    if facts.refuses_system_midway:
        new = _system_as_user(messages, "messages", lambda text: {"role": "user", "content": text})
        if new is not messages:
            body = {**body, "messages": new}
    return body


def _responses(body: JsonObject, facts: Facts) -> JsonObject:
    given = body.get("input")
    if given is not None and not isinstance(given, (str, list)):
        raise Wrong("it must be a string or an array", "input")
    if not isinstance(given, list):
        return body
    left = [item for item in given if not _drops(item, facts)]
    if facts.refuses_system_midway:
        left = _system_as_user(
            left,
            "input",
            lambda text: {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]},
        )
    unchanged = len(left) == len(given) and all(new is old for new, old in zip(left, given, strict=True))
    return body if unchanged else {**body, "input": left}


def _drops(item: Any, facts: Facts) -> bool:
    """Reasoning that another endpoint encrypted, or that was sealed for another dialect."""
    if not isinstance(item, dict) or item.get("type") != "reasoning":
        return False
    encrypted = item.get("encrypted_content")
    if not isinstance(encrypted, str) or not encrypted:
        return facts.drop_signatures
    return facts.drop_encrypted or facts.drop_signatures or encrypted.startswith(MARK)


def _system_as_user(messages: list[Any], key: str, write: Any) -> list[Any]:
    """System messages behind the head as user turns that say what they are."""
    out: list[Any] = []
    head = True
    changed = False
    for index, message in enumerate(messages):
        system = obj(message, key, index).get("role") in ("system", "developer")
        if system and not head:
            out.append(write(f"<system>\n{_plain(message.get('content'))}\n</system>"))
            changed = True
        else:
            head = head and system
            out.append(message)
    return out if changed else messages
