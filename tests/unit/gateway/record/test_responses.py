"""Earlier responses by their ids."""

from __future__ import annotations

from codex_gateway.record.responses import KeptResponses


def items(text: str) -> list[dict[str, object]]:
    return [{"type": "message", "text": text}]


def test_a_conversation_is_put_together_from_its_responses() -> None:
    kept = KeptResponses()
    kept.keep("codex", "r1", "", items("one"))
    kept.keep("codex", "r2", "r1", items("two"))
    kept.keep("codex", "r3", "r1", items("three"))
    mine = kept.of("codex")
    assert mine.conversation("r2") == items("one") + items("two")
    assert mine.conversation("r3") == items("one") + items("three")
    assert mine.conversation("r4") is None


def test_nobody_sees_another_tokens_responses() -> None:
    kept = KeptResponses()
    kept.keep("codex", "r1", "", items("secret"))
    assert kept.of("other").conversation("r1") is None
    kept.keep("other", "r2", "r1", items("mine"))
    assert kept.of("other").conversation("r2") is None


def test_the_longest_unused_goes_first_and_takes_its_conversation_with_it() -> None:
    kept = KeptResponses(max_bytes=200)
    kept.keep("t", "r1", "", items("a" * 60))
    kept.keep("t", "r2", "r1", items("b" * 20))
    kept.keep("t", "x", "", items("c" * 20))
    assert kept.conversation("t", "r1") is not None
    kept.keep("t", "y", "", items("d" * 20))
    assert kept.conversation("t", "r2") is None
    assert kept.conversation("t", "y") is not None
    kept.keep("t", "huge", "", items("e" * 500))
    assert kept.conversation("t", "huge") is None
    assert kept.conversation("t", "y") is not None, "what does not fit takes nothing with it"


def test_a_circle_ends() -> None:
    kept = KeptResponses()
    kept.keep("t", "a", "b", items("a"))
    kept.keep("t", "b", "a", items("b"))
    assert kept.conversation("t", "a") is None
