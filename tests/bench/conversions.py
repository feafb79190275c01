"""How fast the gateway converts streams, without any I/O: `python -m tests.bench.conversions [--profile FROM TO]`.

An answer of 2,000 text deltas (about 10 kB of text) and one tool call, in reads of 4 kB, for each of the nine pairs.
"""

from __future__ import annotations

import cProfile
import pstats
import sys
import time
from itertools import product

from codex_gateway.dialect.conversion import ConvertedStream
from codex_gateway.dialect.convert import Dialect, PassThrough, StreamConversion, WayBack

from tests.support.dialect_streams import (
    call,
    chat_stream,
    completion,
    function_call,
    message,
    messages_stream,
    output_message,
    response,
    responses_stream,
)

TEXT = "All ok. " * 1250
ARGUMENTS = '{"command":["ls","-l"],"timeout_ms":1000}'
READ_BYTES = 4096

STREAMS = {
    Dialect.MESSAGES: messages_stream(
        message(
            {"type": "text", "text": TEXT},
            {"type": "tool_use", "id": "toolu_1", "name": "shell", "input": {"command": ["ls", "-l"]}},
            stop_reason="tool_use",
        )
    ),
    Dialect.CHAT: chat_stream(completion(TEXT, "tool_calls", tool_calls=[call("shell", ARGUMENTS, "call_1")])),
    Dialect.RESPONSES: responses_stream(response(output_message(TEXT), function_call("shell", ARGUMENTS))),
}


def conversion(upstream: Dialect, client: Dialect) -> StreamConversion:
    """A conversion, or the pass-through."""
    if upstream is client:
        return PassThrough(client)
    return ConvertedStream(WayBack(client=client, upstream=upstream, model="m", include_usage=True))


def run(upstream: Dialect, client: Dialect) -> int:
    """Convert one answer; the number of the upstream's events."""
    stream = STREAMS[upstream]
    converted = conversion(upstream, client)
    for at in range(0, len(stream), READ_BYTES):
        converted.feed(stream[at : at + READ_BYTES])
    converted.end()
    if converted.outcome is None or converted.outcome.error is not None:
        raise SystemExit(f"{upstream} to {client} failed: {converted.outcome}")
    return stream.count(b"\n\n")


def main() -> None:
    """Print the figures, or a profile of one pair."""
    if len(sys.argv) == 4 and sys.argv[1] == "--profile":
        pair = Dialect(sys.argv[2]), Dialect(sys.argv[3])
        profile = cProfile.Profile()
        profile.enable()
        for _ in range(20):
            run(*pair)
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(14)
        return
    print(f"{'from':<10} {'to':<10} {'events/s':>10} {'µs/event':>9} {'short answers/s':>16}")
    for upstream, client in product(Dialect, Dialect):
        run(upstream, client)
        begin = time.perf_counter()
        events = sum(run(upstream, client) for _ in range(15))
        took_s = time.perf_counter() - begin
        begin = time.perf_counter()
        for _ in range(300):
            short = conversion(upstream, client)
            short.feed(SHORT[upstream])
            short.end()
        short_s = (time.perf_counter() - begin) / 300
        print(
            f"{upstream.value:<10} {client.value:<10} {events / took_s:>10,.0f} {took_s / events * 1e6:>9.2f}"
            f" {1 / short_s:>16,.0f}"
        )


SHORT = {
    Dialect.MESSAGES: messages_stream(message({"type": "text", "text": "Hello, world! " * 3})),
    Dialect.CHAT: chat_stream(completion("Hello, world! " * 3)),
    Dialect.RESPONSES: responses_stream(response(output_message("Hello, world! " * 3))),
}

if __name__ == "__main__":
    main()
