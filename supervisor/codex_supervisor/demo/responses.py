"""The wire format of a model server that Codex talks to: the part of the OpenAI Responses API that it uses.

`ModelRequest` reads what Codex sends; `ResponseStream` builds the server-sent events of one answer. Both are pure:
bytes in, bytes out. The demo model and the tests' stub model share them.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import msgspec

SSE_CONTENT_TYPE = "text/event-stream"

# What Codex itself puts into the conversation as user messages; they are not what a person said.
_CONTEXT = re.compile(
    r"\s*(<(environment_context|user_instructions|turn_aborted|skill|subagent_|user_shell|goal_)|# AGENTS\.md)"
)


class Content(msgspec.Struct, frozen=True):
    """One piece of a message; `type` is `input_text`, `output_text` or `input_image`."""

    type: str = ""
    text: str = ""


class Tool(msgspec.Struct, frozen=True):
    """A tool that Codex offers; a `namespace` holds further tools."""

    type: str
    name: str = ""
    tools: tuple[Tool, ...] = ()


class InputItem(msgspec.Struct, frozen=True):
    """One item of the conversation. `output` of a tool call is text, or a list of content pieces."""

    type: str = "message"
    role: str = ""
    content: tuple[Content, ...] | str | None = None
    call_id: str = ""
    name: str = ""
    arguments: str = ""
    input: str = ""
    output: tuple[Content, ...] | str | None = None
    tools: tuple[Tool, ...] = ()

    @property
    def text(self) -> str:
        """The text of a message or of a tool's output."""
        found = self.output if self.type.endswith("_output") else self.content
        if found is None or isinstance(found, str):
            return found or ""
        return "\n".join(piece.text for piece in found if piece.text)

    @property
    def is_person(self) -> bool:
        """Whether a person said it (and not Codex in the person's name)."""
        return self.type == "message" and self.role == "user" and _CONTEXT.match(self.text) is None


class ModelRequest(msgspec.Struct, frozen=True, dict=True):
    """The body of `POST /v1/responses`, as far as a model server without a model needs it."""

    model: str = ""
    input: tuple[InputItem, ...] = ()
    tools: tuple[Tool, ...] = ()
    client_metadata: dict[str, str] = {}

    @classmethod
    def from_json(cls, body: bytes) -> ModelRequest:
        """Decode; raises `msgspec.DecodeError` where it is no such body."""
        return _REQUEST.decode(body)

    @cached_property
    def user_texts(self) -> tuple[str, ...]:
        """What the person said, oldest first."""
        return tuple(item.text for item in self.input if item.is_person)

    @property
    def last_user_text(self) -> str:
        """What the person said last; empty where nothing was said."""
        return self.user_texts[-1] if self.user_texts else ""

    @cached_property
    def tool_outputs(self) -> tuple[str, ...]:
        """Outputs of the tool calls since the person spoke last: not empty means that the turn continues."""
        since = itertools.takewhile(lambda item: not item.is_person, reversed(self.input))
        return tuple(item.text for item in since if item.type.endswith("_call_output"))[::-1]

    @cached_property
    def tool_names(self) -> frozenset[str]:
        """Names of the tools on offer; a tool inside a namespace is `namespace.name`.

        Some models get their tools inside the first input item instead of in `tools`.
        """
        offered = itertools.chain(self.tools, *(item.tools for item in self.input if item.type == "additional_tools"))
        return frozenset(_names(offered))


_REQUEST = msgspec.json.Decoder(ModelRequest)
_encode = msgspec.json.Encoder().encode


def _names(tools: Iterable[Tool], prefix: str = "") -> Iterable[str]:
    for tool in tools:
        if tool.type == "namespace":
            yield from _names(tool.tools, f"{tool.name}.")
        else:
            yield prefix + (tool.name or tool.type)


def event(kind: str, **fields: object) -> bytes:
    """One server-sent event of type `kind`."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode({"type": kind, **fields}))


class ResponseStream:
    """The events of one answer, in the order in which its methods are called. All ids follow from `response_id`."""

    def __init__(self, response_id: str, model: str = "") -> None:
        self._id = response_id
        self._model = model
        self._index = 0
        self._texts: list[str] = []
        self._message_id = ""
        self.text_characters = 0
        """How much text was sent so far."""

    def created(self) -> bytes:
        """The first event."""
        return event("response.created", response=self._response("in_progress"))

    def text(self, delta: str) -> bytes:
        """A piece of a message; the first one begins the message."""
        opening = b""
        if not self._message_id:
            self._message_id = f"{self._id}_msg_{self._index}"
            opening = event(
                "response.output_item.added", output_index=self._index, item=self._message("in_progress", content=[])
            )
        self._texts.append(delta)
        self.text_characters += len(delta)
        return opening + event(
            "response.output_text.delta",
            item_id=self._message_id,
            output_index=self._index,
            content_index=0,
            delta=delta,
        )

    def end_text(self, phase: str | None = None) -> bytes:
        """The end of the message, nothing where none is open. `phase`: `commentary`, `final_answer` or None."""
        if not self._message_id:
            return b""
        item = self._message("completed", content=[self._output_text()])
        if phase is not None:
            item["phase"] = phase
        self._message_id = ""
        self._texts = []
        return self._done(item)

    def reasoning(self, summaries: Sequence[str]) -> bytes:
        """A whole reasoning item; each summary is a part of its own and comes in words."""
        parts = [self.end_text()]
        item_id = f"{self._id}_rs_{self._index}"
        place = {"item_id": item_id, "output_index": self._index}
        empty = {"type": "reasoning", "id": item_id, "summary": []}
        parts.append(event("response.output_item.added", output_index=self._index, item=empty))
        for number, summary in enumerate(summaries):
            part = {"type": "summary_text", "text": ""}
            parts.append(event("response.reasoning_summary_part.added", **place, summary_index=number, part=part))
            parts.extend(
                event("response.reasoning_summary_text.delta", **place, summary_index=number, delta=word)
                for word in re.findall(r"\s*\S+\s*$|\s*\S+", summary)
            )
        whole = [{"type": "summary_text", "text": summary} for summary in summaries]
        parts.append(self._done({**empty, "summary": whole, "encrypted_content": f"encrypted-{item_id}"}))
        return b"".join(parts)

    def function_call(self, name: str, arguments: object, namespace: str | None = None) -> bytes:
        """A call of a function; `arguments` becomes JSON unless it is text already."""
        ending = self.end_text()
        text = arguments if isinstance(arguments, str) else _encode(arguments).decode()
        item = {"type": "function_call", **self._call_ids("fc"), "name": name, "arguments": text}
        if namespace is not None:
            item["namespace"] = namespace
        return ending + self._done(item)

    def custom_call(self, name: str, text: str) -> bytes:
        """A call of a tool that takes free text, such as `apply_patch`."""
        ending = self.end_text()
        return ending + self._done({"type": "custom_tool_call", **self._call_ids("ctc"), "name": name, "input": text})

    def completed(
        self, *, input_tokens: int = 0, cached_tokens: int = 0, output_tokens: int = 0, reasoning_tokens: int = 0
    ) -> bytes:
        """The last event of an answer that went well, with what it cost."""
        usage = {
            "input_tokens": input_tokens,
            "input_tokens_details": {"cached_tokens": cached_tokens},
            "output_tokens": output_tokens,
            "output_tokens_details": {"reasoning_tokens": reasoning_tokens},
            "total_tokens": input_tokens + output_tokens,
        }
        ending = self.end_text()
        return ending + event("response.completed", response=self._response("completed", usage=usage))

    def failed(self, code: str, message: str) -> bytes:
        """The last event of an answer that failed; codes that Codex knows: `context_length_exceeded`,
        `insufficient_quota`, `usage_not_included`, `rate_limit_exceeded`, `server_is_overloaded`, `invalid_prompt`.
        """
        error = {"code": code, "message": message}
        return event("response.failed", response=self._response("failed", error=error))

    def incomplete(self, reason: str) -> bytes:
        """The last event of an answer that was cut short; reasons: `max_output_tokens`, `content_filter`."""
        ending = self.end_text()
        details = {"reason": reason}
        return ending + event("response.incomplete", response=self._response("incomplete", incomplete_details=details))

    def _done(self, item: dict[str, Any]) -> bytes:
        done = event("response.output_item.done", output_index=self._index, item=item)
        self._index += 1
        return done

    def _call_ids(self, kind: str) -> dict[str, str]:
        return {"id": f"{self._id}_{kind}_{self._index}", "call_id": f"{self._id}_call_{self._index}"}

    def _message(self, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        return {"type": "message", "id": self._message_id, "role": "assistant", "status": status, "content": content}

    def _output_text(self) -> dict[str, Any]:
        return {"type": "output_text", "text": "".join(self._texts), "annotations": []}

    def _response(self, status: str, **fields: object) -> dict[str, object]:
        # Codex takes the items from their own events, so `output` stays empty: a huge answer is sent once less.
        return {"id": self._id, "object": "response", "model": self._model, "status": status, "output": [], **fields}


def shell_call(request: ModelRequest, stream: ResponseStream, command: str, **arguments: object) -> bytes | None:
    """Run `command` through whichever shell tool Codex offers; None where it offers none."""
    offered = request.tool_names
    if "exec_command" in offered:
        return stream.function_call("exec_command", {"cmd": command, **arguments})
    if "shell_command" in offered:
        return stream.function_call("shell_command", {"command": command, **arguments})
    if "shell" in offered:
        return stream.function_call("shell", {"command": ["sh", "-c", command], **arguments})
    return None
