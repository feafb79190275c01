"""The process that runs regular expressions and the user's functions: `python -m codex_gateway.tagger.worker PATH…`.

Each message is a length of 4 bytes and JSON. It answers one question after another and ends with its input. Whatever it
hangs in, its owner kills it.
"""

from __future__ import annotations

import importlib
import os
import re
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

HEAD = struct.Struct(">I")
MAX_TAGS = 100


def main() -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    # What a function prints must not get among the answers.
    os.dup2(2, 1)
    sys.path[:0] = [str(Path(directory).expanduser()) for directory in sys.argv[1:]]
    questions = sys.stdin.buffer
    while (question := _read(questions)) is not None:
        answer: dict[str, Any]
        try:
            answer = {"tags": _answer(msgspec.json.decode(question))}
        except Exception as error:  # the user's function may raise anything
            answer = {"error": f"{type(error).__name__}: {error}"[:500]}
        written = msgspec.json.encode(answer)
        answers.write(HEAD.pack(len(written)) + written)
        answers.flush()


def _read(stream: BinaryIO) -> bytes | None:
    head = stream.read(HEAD.size)
    return stream.read(HEAD.unpack(head)[0]) if len(head) == HEAD.size else None


def _answer(question: dict[str, Any]) -> bool | list[str]:
    """True for the rule's own tags, false for none, or a list of tags."""
    if question.get("pattern") and re.search(question["pattern"], question["text"]) is None:
        return False
    if not question.get("python"):
        return True
    said = _function(question["python"])(question["request"])
    if isinstance(said, bool) or said is None:
        return bool(said)
    if isinstance(said, str):
        return [said]
    return [str(tag) for tag in said][:MAX_TAGS]


def _function(dotted: str) -> Callable[[dict[str, Any]], Any]:
    module, _, name = dotted.partition(":")
    function: Callable[[dict[str, Any]], Any] = getattr(importlib.import_module(module), name)
    return function


if __name__ == "__main__":
    main()
