"""A client's request into the body for an endpoint, and the record for the way back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from codex_gateway.dialect.chat import read_request as chat_reader
from codex_gateway.dialect.chat import write_request as chat_writer
from codex_gateway.dialect.facts import WayBack
from codex_gateway.dialect.messages import read_request as messages_reader
from codex_gateway.dialect.messages import write_request as messages_writer
from codex_gateway.dialect.neutral import Dialect
from codex_gateway.dialect.prepare import Prepared, prepare
from codex_gateway.dialect.reading import Wrong, need_text, text
from codex_gateway.dialect.responses import read_request as responses_reader
from codex_gateway.dialect.responses import write_request as responses_writer
from codex_gateway.dialect.same import kept

if TYPE_CHECKING:
    from codex_gateway.dialect.facts import Facts
    from codex_gateway.dialect.neutral import JsonObject, Request

ECHOED = (
    *(
        "instructions",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "temperature",
        "top_p",
        "max_output_tokens",
        "text",
    ),
    *("reasoning", "metadata", "truncation", "previous_response_id", "store", "service_tier", "prompt_cache_key"),
    *("safety_identifier", "user", "top_logprobs", "max_tool_calls"),
)
"""Fields of a Responses request that its Response repeats."""


class ResponseStore(Protocol):
    """Where earlier responses are kept, so that `previous_response_id` can be served."""

    def conversation(self, response_id: str) -> list[JsonObject] | None:
        """The input and output items of that response and all before it, oldest first; None where unknown."""


def read(body: JsonObject, dialect: Dialect, *, counting: bool = False) -> Request:
    """`body` in neutral form. `counting`: a count_tokens request, which has no max_tokens.

    :raises Wrong: with the path of what is wrong
    """
    match dialect:
        case Dialect.MESSAGES:
            return messages_reader.read_request(body, counting=counting)
        case Dialect.CHAT:
            return chat_reader.read_request(body)
        case Dialect.RESPONSES:
            return responses_reader.read_request(body)


def write(prepared: Prepared, facts: Facts) -> JsonObject:
    """The body in the endpoint's dialect.

    :raises BadInput: a part has no counterpart there
    """
    match facts.dialect:
        case Dialect.MESSAGES:
            return messages_writer.write_request(prepared, facts)
        case Dialect.CHAT:
            return chat_writer.write_request(prepared, facts)
        case Dialect.RESPONSES:
            return responses_writer.write_request(prepared, facts)


def converted(
    body: JsonObject, client: Dialect, facts: Facts, store: ResponseStore | None
) -> tuple[JsonObject, WayBack, bool]:
    """The body to send, the record for the way back, and whether the answer passes as it is.

    :raises Wrong: with the path of what is wrong
    :raises BadInput: something has no counterpart in the endpoint's dialect
    """
    original = body
    if client is Dialect.RESPONSES and body.get("previous_response_id") is not None:
        body = _with_previous(body, facts, store)
    if client is facts.dialect and not _needs_rewriting(body, facts):
        sent = kept(body, facts)
        if client is Dialect.CHAT:
            sent = _with_usage(sent)
        return sent, _plain_way_back(original, client, facts), True
    request = read(body, client)
    prepared = prepare(request, facts)
    sent = write(prepared, facts)
    names = prepared.names.way_back()
    cut_at: tuple[str, ...] = ()
    if facts.dialect is Dialect.RESPONSES or facts.no_stop:
        cut_at = request.stop
    elif facts.dialect is Dialect.CHAT:
        cut_at = request.stop[chat_writer.MAX_STOP :]
    elif request.stop:
        cut_at = tuple(sequence for sequence in request.stop if not sequence.strip())
    way_back = WayBack(
        client=client,
        upstream=facts.dialect,
        model=request.model,
        endpoint=facts.endpoint,
        stream=request.stream,
        include_usage=request.include_usage,
        tools=names,
        call_ids=prepared.call_ids,
        cut_at=cut_at,
        stop=request.stop,
        include=request.include,
        store=request.store,
        thinking_opened=facts.thinking_opened,
        keep_thinking=_keeps_thinking(request),
        echo=_echo(original, client),
    )
    return sent, way_back, False


def _keeps_thinking(request: Request) -> bool:
    """Whether reasoning goes to the client.

    One that forbids it (Messages' `thinking: disabled`) may take the first block for the text. Only where it has tools
    it gets it all the same: endpoints that think anyway refuse a history in which calls have lost their reasoning.
    """
    if request.origin is not Dialect.MESSAGES or request.tools:
        return True
    return request.reasoning is None or request.reasoning.enabled is not False


def _plain_way_back(body: JsonObject, client: Dialect, facts: Facts) -> WayBack:
    return WayBack(
        client=client,
        upstream=facts.dialect,
        model=need_text(body, "model"),
        endpoint=facts.endpoint,
        stream=body.get("stream") is True,
        include_usage=_asks_for_usage(body),
        echo=_echo(body, client),
    )


def _asks_for_usage(body: JsonObject) -> bool:
    options = body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _with_usage(body: JsonObject) -> JsonObject:
    """A Chat stream tells its tokens only where it is asked to; the client does not get what it did not ask for."""
    if body.get("stream") is not True or _asks_for_usage(body):
        return body
    options = body.get("stream_options")
    return {**body, "stream_options": {**(options if isinstance(options, dict) else {}), "include_usage": True}}


def _echo(body: JsonObject, client: Dialect) -> JsonObject:
    if client is not Dialect.RESPONSES:
        return {}
    return {key: body[key] for key in ECHOED if body.get(key) is not None}


def _needs_rewriting(body: JsonObject, facts: Facts) -> bool:
    """A request in the endpoint's own dialect that must be taken apart all the same."""
    if facts.no_stop and (body.get("stop") or body.get("stop_sequences")):
        return True
    if facts.no_tools:
        return bool(body.get("tools") or body.get("functions") or _holds_calls(body))
    return facts.dialect is Dialect.RESPONSES and (facts.custom_tools is False or facts.namespaces is False)


def _holds_calls(body: JsonObject) -> bool:
    """Whether the history holds calls: a look at the text is enough, for a wrong yes does no harm."""
    given = body.get("messages") or body.get("input")
    return any(sign in str(given) for sign in ("tool_use", "tool_calls", "_call"))


def _with_previous(body: JsonObject, facts: Facts, store: ResponseStore | None) -> JsonObject:
    """The request with the whole conversation in place of `previous_response_id`."""
    response_id = text(body, "previous_response_id") or ""
    items = store.conversation(response_id) if store else None
    if items is None:
        if facts.dialect is Dialect.RESPONSES and facts.native:
            # OpenAI keeps responses itself.
            return body
        raise Wrong(
            f"the gateway keeps no response {response_id[:80]!r}; send the whole conversation as input",
            "previous_response_id",
        )
    whole = [*items, *responses_reader.input_items(body)]
    return {key: value for key, value in body.items() if key != "previous_response_id"} | {"input": whole}
