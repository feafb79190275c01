"""How errors are told."""

from __future__ import annotations

import json

import click
import pytest
from codex_control.errors import BadInput, NotFound
from codex_control.telling import error_json, error_text, tell_usage


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (NotFound("it is gone"), "p: it is gone."),
        (BadInput("no such thing: did you mean 'x'?"), "p: no such thing: did you mean 'x'?"),
        (
            BadInput("two mistakes", why="one\n\ntwo\n", next_step="both"),
            "p: two mistakes:\n    one\n    two\n  next: both",
        ),
        (BadInput("a \x1b[31mred\x1b[0m\none"), "p: a red one."),
    ],
)
def test_an_error_is_a_sentence_or_a_list_of_reasons_and_what_to_do(error: NotFound | BadInput, told: str) -> None:
    assert error_text("p", error) == told


def test_in_a_log_a_list_of_reasons_is_one_line() -> None:
    assert str(BadInput("two mistakes", why="one\ntwo", next_step="both")) == "two mistakes: one; two. Both."


def test_as_json_it_has_the_same_words() -> None:
    (told,) = json.loads(error_json(NotFound("é", why="a\nb", next_step="c"))).values()
    assert told == {"reason": "NOT_FOUND", "what": "é", "why": "a\nb", "next": "c", "exit_code": 4}


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (click.IntRange(0, 1000), "'x' is not a whole number from 0 to 1000"),
        (click.IntRange(min=1), "'x' is not a whole number from 1 on"),
        (click.IntRange(max=9), "'x' is not a whole number up to 9"),
    ],
)
def test_a_word_in_place_of_a_number_is_told_in_plain_words(
    wanted: click.IntRange, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = click.Command("p", params=[click.Option(["--retries"], type=wanted)])
    with pytest.raises(click.BadParameter) as wrong:
        command.main(["--retries", "x"], standalone_mode=False)
    assert tell_usage("p", wrong.value, as_json=False) == 2
    assert f"--retries': {told}." in capsys.readouterr().err
