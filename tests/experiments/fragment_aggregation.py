"""E2: do the fragments of parallel tool calls ever mix?"""

from __future__ import annotations

import json
import random
from typing import Any

from codex_gateway.dialect.conversion import ConvertedStream
from codex_gateway.dialect.convert import Dialect

from tests.experiments.report import Report
from tests.support.converting import DONE, Seen, chunk, convert, items_of, message_of, tool_chunk, way_back

ROUNDS = 66
"""Answers of each style."""
STYLES = ("as OpenAI", "ids repeated", "name late", "snapshots", "no index, one after the other", "index always 0")
Call = tuple[str, str, Any]


def run() -> Report:
    """The experiment; the same in each run."""
    report = Report(
        "E2: fragments of parallel tool calls",
        f"{ROUNDS} answers of each style with 2 to 6 calls each, whose fragments interleave at random. Does each "
        "client get each call with its own arguments?",
    )
    rows = []
    for style in STYLES:
        chance = random.Random(style)
        wrong = dict.fromkeys(Dialect, 0)
        calls_made = 0
        for _ in range(ROUNDS):
            calls = _calls(chance)
            calls_made += len(calls)
            stream = b"".join([*map(tool_chunk, _fragments(calls, style, chance)), chunk({}, "tool_calls"), DONE])
            for client in Dialect:
                if _calls_of(convert(stream, Dialect.CHAT, client), client) != calls:
                    wrong[client] += 1
        for client, count in wrong.items():
            report.check(count == 0, f"{style}: {count} answers came out wrong for {client.value}")
        rows.append((style, calls_made, *wrong.values()))
    report.table(("fragments", "calls", *(f"wrong for {client.value}" for client in Dialect)), rows)
    report.say("How long a Messages client waits for its first block, in fragments of 4 interleaved calls of 10 each:")
    report.say()
    report.table(("", "fragments in", "first delta after"), [("interleaved", 40, _first_delta())])
    return report


def _calls(chance: random.Random) -> list[Call]:
    return [
        (
            f"call_{chance.randrange(10**9)}_{number}",
            chance.choice(["read", "write", "shell", "search"]),
            {chance.choice("abc"): chance.choice([1, "x" * 30, {"a": [1, {"a": "}{"}]}, 'ä\n"😀']) for _ in range(3)},
        )
        for number in range(chance.randint(2, 6))
    ]


def _fragments(calls: list[Call], style: str, chance: random.Random) -> list[dict[str, Any]]:
    lists = []
    for index, (call_id, name, given) in enumerate(calls):
        text = json.dumps(given, ensure_ascii=chance.random() < 0.5)
        pieces = []
        while text:
            size = chance.randint(1, 9)
            pieces.append(text[:size])
            text = text[size:]
        if style == "snapshots":
            pieces = ["".join(pieces[: at + 1]) for at in range(len(pieces))]
        one: list[dict[str, Any]] = [{"id": call_id, "name": name}, *({"arguments": piece} for piece in pieces)]
        if style == "name late":
            one = [{"id": call_id}, one[1], {"name": name}, *one[2:]]
        if style == "ids repeated":
            one = [{"id": call_id, "name": name, **fragment} for fragment in one]
        if not style.startswith("no index"):
            one = [{"index": 0 if style == "index always 0" else index, **fragment} for fragment in one]
        lists.append(one)
    if style.startswith("no index") or style == "index always 0":
        return [fragment for one in lists for fragment in one]
    mixed = []
    # Calls begin in any order; their ids tell which was meant to be which.
    while any(lists):
        mixed.append(chance.choice([one for one in lists if one]).pop(0))
    return mixed


def _calls_of(seen: Seen, client: Dialect) -> list[Call]:
    found: list[Call] = []
    match client:
        case Dialect.MESSAGES:
            found = [(block["id"], block["name"], block["input"]) for block in message_of(seen)["content"]]
        case Dialect.RESPONSES:
            found = [(item["call_id"], item["name"], json.loads(item["arguments"])) for item in items_of(seen)]
        case Dialect.CHAT:
            texts: dict[int, list[str]] = {}
            for delta in seen.deltas():
                for one in delta.get("tool_calls") or ():
                    known = texts.setdefault(one["index"], [one.get("id", ""), one["function"].get("name", ""), ""])
                    known[2] += one["function"]["arguments"]
            found = [(call_id, name, json.loads(text)) for call_id, name, text in texts.values()]
    return sorted(found, key=_number)


def _number(call: Call) -> int:
    return int(call[0].rpartition("_")[2])


def _first_delta() -> int:
    converted = ConvertedStream(way_back(Dialect.CHAT, Dialect.MESSAGES))
    for number in range(40):
        fragment = {"index": number % 4, "arguments": '{"a' if number < 4 else "a"}
        if number < 4:
            fragment |= {"id": f"c{number}", "name": "read"}
        if b"input_json_delta" in b"".join(converted.feed(tool_chunk(fragment))):
            return number + 1
    return -1
