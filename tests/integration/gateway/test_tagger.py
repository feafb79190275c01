"""Slow conditions of tagging rules in their own process: answers, mistakes, time limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from codex_gateway.config.model import TaggingConfig, TaggingRule
from codex_gateway.route.tagging import Asked, tags_of
from codex_gateway.tagger.process import Tagger

MODULE = """
import time

print("imported")

def yes(request):
    print("noise on stdout")
    return request["body"]["model"] == "m" and request["headers"]["x-a"] == "1"

def some(request):
    return ["one", "two", "not a tag!"]

def broken(request):
    raise KeyError("no such thing")

def hangs(request):
    time.sleep(1000)

def dies(request):
    import os
    os._exit(3)

def odd(request):
    return 7
"""
ASKED = Asked(
    path="/v1/messages",
    headers={"x-a": "1"},
    body={"model": "m", "messages": [{"role": "user", "content": "a" * 40 + "!"}]},
)


@pytest.fixture
async def tagger(tmp_path: Path) -> AsyncIterator[Tagger]:
    (tmp_path / "my_rules.py").write_text(MODULE)
    tagger = Tagger(TaggingConfig(python_path=(str(tmp_path),), timeout=0.3))
    yield tagger
    await tagger.close()


async def _tags(tagger: Tagger, *rules: TaggingRule) -> tuple[frozenset[str], tuple[str, ...]]:
    return await tagger.tags(tags_of(ASKED, TaggingConfig(rules=rules)).slow, ASKED)


async def test_functions_and_expressions_give_tags(tagger: Tagger) -> None:
    tags, notes = await _tags(
        tagger,
        TaggingRule(tags=("yes",), python="my_rules:yes"),
        TaggingRule(tags=("also",), python="my_rules:some"),
        TaggingRule(tags=("found",), user_message="a+!$"),
        TaggingRule(tags=("not found",), user_message="b"),
        TaggingRule(tags=("both",), user_message="a", python="my_rules:yes"),
        TaggingRule(tags=("neither",), user_message="b", python="my_rules:hangs"),
    )
    assert tags == {"yes", "also", "one", "two", "found", "both"}
    assert notes == ("a tagging rule: 1 of its tags are no tags",)


async def test_what_goes_wrong_gives_no_tag_and_is_told(tagger: Tagger) -> None:
    tags, notes = await _tags(
        tagger,
        TaggingRule(name="b", tags=("x",), python="my_rules:broken"),
        TaggingRule(name="o", tags=("x",), python="my_rules:odd"),
        TaggingRule(name="n", tags=("x",), python="my_rules:absent"),
        TaggingRule(name="m", tags=("x",), python="no_such_module:f"),
        TaggingRule(name="d", tags=("x",), python="my_rules:dies"),
        TaggingRule(tags=("alive",), python="my_rules:yes"),
    )
    assert tags == {"alive"}
    assert [note.split(":")[0] for note in notes] == ["b", "o", "n", "m", "d"]
    assert "KeyError: 'no such thing'" in notes[0]
    assert "its process died" in notes[4]


async def test_an_expression_that_takes_for_ever_is_cut_off_and_the_next_one_works(tagger: Tagger) -> None:
    assert await _tags(tagger, TaggingRule(tags=("warm",), user_message="a")) == (frozenset({"warm"}), ())
    began = asyncio.get_running_loop().time()
    tags, notes = await _tags(
        tagger, TaggingRule(name="slow", tags=("x",), user_message="(a+)+$"), TaggingRule(tags=("y",), user_message="a")
    )
    assert tags == {"y"}
    assert notes == ("slow: no answer within 0.3 s",)
    assert asyncio.get_running_loop().time() - began < 5


async def test_closing_it_leaves_no_process(tagger: Tagger) -> None:
    await _tags(tagger, TaggingRule(tags=("warm",), user_message="a"))
    process = tagger._process
    assert process is not None
    await tagger.close()
    assert process.returncode is not None


async def test_questions_at_once_are_all_answered(tagger: Tagger) -> None:
    rule = TaggingRule(tags=("yes",), python="my_rules:yes")
    answers = await asyncio.gather(*(_tags(tagger, rule) for _ in range(20)))
    assert all(answer == (frozenset({"yes"}), ()) for answer in answers)
