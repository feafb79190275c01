"""Client tokens and their file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from codex_control.errors import BadInput, NotFound, UnsafePath, WrongState
from codex_control.service.clock import SystemClock
from codex_control.service.redaction import redact
from codex_gateway.config.endpoint import ClientKind
from codex_gateway.ingress.tokens import FIRST_TOKENS, Role, Tokens


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    made = Tokens(tmp_path / "tokens", SystemClock())
    made.open()
    return made


def test_the_first_start_makes_a_token_for_each_client(tokens: Tokens) -> None:
    for name, role, client in FIRST_TOKENS:
        token = tokens.check(tokens.text_of(name))
        assert token is not None
        assert (token.name, token.role, token.client) == (name, role, client)


def test_a_first_start_that_fails_half_way_is_made_good_by_the_next(tmp_path: Path) -> None:
    made = Tokens(tmp_path / "tokens", SystemClock())
    in_the_way = tmp_path / "tokens" / "other.token"
    in_the_way.mkdir(parents=True)
    (tmp_path / "tokens").chmod(0o700)
    with pytest.raises(UnsafePath, match="cannot be changed"):
        made.open()
    in_the_way.rmdir()
    made.open()
    assert [token.name for token in made.all()] == [name for name, _, _ in FIRST_TOKENS]
    assert all(made.check(made.text_of(name)) for name, _, _ in FIRST_TOKENS)


def test_a_token_is_the_whole_text_or_nothing(tokens: Tokens) -> None:
    text = tokens.text_of("codex")
    for wrong in ("", text[:-1], text + "x", text.swapcase(), "sk-cgw-", "\udcff"):
        assert tokens.check(wrong) is None


def test_the_list_holds_no_text_and_every_file_is_private(tokens: Tokens) -> None:
    listed = tokens.file.read_text()
    for name, _, _ in FIRST_TOKENS:
        assert tokens.text_of(name) not in listed
    assert {path.stat().st_mode & 0o777 for path in tokens.file.parent.iterdir()} == {0o600}


def test_another_process_sees_what_was_changed(tokens: Tokens) -> None:
    running = Tokens(tokens.file.parent, SystemClock())
    running.open()
    text = tokens.add("new", Role.VIEWER, requests_per_minute=5)
    assert running.check(text) is None
    assert running.reload()
    assert not running.reload(), "it was read again without a change"
    found = running.check(text)
    assert found is not None
    assert found.requests_per_minute == 5
    tokens.revoke("new")
    running.reload()
    assert running.check(text) is None


def test_of_two_that_change_the_list_neither_loses_the_others_change(tokens: Tokens) -> None:
    other = Tokens(tokens.file.parent, SystemClock())
    other.open()
    tokens.add("new", Role.CLIENT)
    tokens.revoke("codex")
    other.add("newer", Role.CLIENT)
    there = [token.name for token in other.all() if not token.revoked_ns]
    assert {"new", "newer"} < set(there)
    assert "codex" not in there
    with pytest.raises(NotFound):
        other.revoke("codex")


@pytest.mark.parametrize(
    "damage", [lambda text: "", lambda text: text[:-40], lambda text: text.replace('"sha256": "', '"sha256": "z')]
)
def test_a_damaged_list_takes_no_token_away(tokens: Tokens, damage: Callable[[str], str]) -> None:
    text = tokens.text_of("codex")
    tokens.file.write_text(damage(tokens.file.read_text()))
    for _ in range(2):
        with pytest.raises(UnsafePath, match="cannot be read"):
            tokens.reload()
    assert tokens.check(text) is not None


def test_a_directory_that_is_gone_takes_no_token_away(tokens: Tokens) -> None:
    text = tokens.text_of("codex")
    tokens.file.parent.rename(tokens.file.parent.with_name("gone"))
    with pytest.raises(UnsafePath):
        tokens.reload()
    assert tokens.check(text) is not None


def test_a_revoked_token_stays_in_the_list_and_its_name_is_free(tokens: Tokens) -> None:
    old = tokens.text_of("codex")
    tokens.revoke("codex")
    with pytest.raises(NotFound):
        tokens.text_of("codex")
    with pytest.raises(NotFound):
        tokens.revoke("codex")
    new = tokens.add("codex", Role.CLIENT, client=ClientKind.CODEX, keep_text=True)
    assert tokens.check(old) is None
    assert tokens.check(new) is not None
    assert [token.name for token in tokens.all()].count("codex") == 2


def test_names_are_checked(tokens: Tokens) -> None:
    for name in ("", "../x", ".hidden", "a b", "x" * 65):
        with pytest.raises(BadInput):
            tokens.add(name, Role.CLIENT)
    with pytest.raises(WrongState):
        tokens.add("codex", Role.CLIENT)


def test_an_open_or_broken_file_is_refused_and_the_old_list_stays(tokens: Tokens) -> None:
    text = tokens.text_of("codex")
    tokens.file.chmod(0o644)
    tokens.file.write_text(tokens.file.read_text() + " ")
    with pytest.raises(UnsafePath):
        tokens.reload()
    tokens.file.chmod(0o600)
    tokens.file.write_text("{")
    with pytest.raises(UnsafePath):
        tokens.reload()
    assert tokens.check(text) is not None


def test_redaction_knows_a_token(tokens: Tokens) -> None:
    assert tokens.text_of("codex") not in redact(f"it sent {tokens.text_of('codex')} to us")
