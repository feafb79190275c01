"""E1: does a Chat stream become a Responses stream whose events are all there and in order?"""

from __future__ import annotations

from itertools import groupby

from codex_gateway.dialect.conversion import convert_answer
from codex_gateway.dialect.convert import Dialect

from tests.experiments.report import Report
from tests.support.converting import Seen, convert, items_of, way_back
from tests.support.dialect_streams import call, chat_stream, completion
from tests.support.sdk_answers import Sdk

ANSWERS = {
    "text": completion("Hello, 世界! " * 5),
    "reasoning, text": completion("42.", reasoning_content="Six times seven, so …"),
    "one call": completion(None, "tool_calls", tool_calls=[call("shell", '{"command":["ls"]}', "c1")]),
    "reasoning, text, three calls": completion(
        "I look at all three.",
        "tool_calls",
        reasoning_content="Three files.",
        tool_calls=[call("read", f'{{"path":"{name}"}}', f"c_{name}") for name in "abc"],
    ),
    "refusal": completion(None, "stop", refusal="I can't."),
    "cut off by the limit": completion("And so on and", "length"),
    "held back by a filter": completion("Well", "content_filter"),
    "inline <think>": completion("<think>Hm.</think>Yes."),
}


DELTAS = ("response.output_text.delta", "response.reasoning_summary_text.delta")


def run() -> Report:
    """The experiment."""
    report = Report(
        "E1: Chat to Responses",
        "Which events are made of a Chat stream, in which order? Do the `openai` client and Codex's rules take them?",
    )
    sdk = Sdk()
    rows = []
    for name, body in ANSWERS.items():
        stream = chat_stream(body)
        seen = convert(stream, Dialect.CHAT, Dialect.RESPONSES)
        whole = convert_answer(body, way_back(Dialect.CHAT, Dialect.RESPONSES))
        rows.append(
            (
                name,
                stream.count(b"\n\n"),
                len(seen.events),
                report.check(_in_order(seen), f"{name}: events are in order"),
                report.check(_one_active(seen), f"{name}: Codex sees one active item at a time"),
                report.check(
                    sdk.of_stream(Dialect.RESPONSES, [seen.raw]) == sdk.of_whole(Dialect.RESPONSES, whole),
                    f"{name}: the client puts together what the whole answer holds",
                ),
                seen.events[-1]["type"],
            )
        )
    sdk.close()
    report.table(("answer", "chunks in", "events out", "in order", "one active item", "SDK equals whole", "end"), rows)
    report.say("The events of the longest one, repeated ones counted:")
    report.say()
    longest = convert(chat_stream(ANSWERS["reasoning, text, three calls"]), Dialect.CHAT, Dialect.RESPONSES)
    for kind, group in groupby(longest.kinds()):
        report.say(f"- `{kind}` x {len(list(group))}")
    return report


def _in_order(seen: Seen) -> bool:
    try:
        items_of(seen)
    except AssertionError:
        return False
    return True


def _one_active(seen: Seen) -> bool:
    active = None
    for event in seen.events:
        if event["type"] == "response.output_item.added":
            # Calls that run in parallel stay open together; Codex takes them from `done` alone.
            if active is not None and event["item"]["type"] != "function_call":
                return False
            active = event["item"]["id"]
        elif event["type"] == "response.output_item.done":
            active = None
        elif event["type"] in DELTAS and event["item_id"] != active:
            return False
    return True
