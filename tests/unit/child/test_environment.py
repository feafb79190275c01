"""What a child's environment holds, and what never gets into it."""

from __future__ import annotations

import pytest
from codex_control.errors import BadConfig
from codex_supervisor.child.environment import DEFAULT_ALLOW, child_environment
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.text(st.characters(codec="ascii", exclude_characters="=\0"), min_size=1, max_size=20)
VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


def made(parent: dict[str, str], *allow: str, extra: dict[str, str] | None = None, home: str = "") -> dict[str, str]:
    return child_environment(parent, allow=allow or DEFAULT_ALLOW, extra=extra or {}, token="t1", codex_home=home)


def test_only_what_is_allowed() -> None:
    parent = {"PATH": "/bin", "LC_TIME": "C", "https_proxy": "p", "OPENAI_API_KEY": "k", "CLAUDECODE": "1", "AWS": "x"}
    assert made(parent) == {
        "PATH": "/bin",
        "LC_TIME": "C",
        "https_proxy": "p",
        "OPENAI_API_KEY": "k",
        "CODEX_SUPERVISOR_CHILD": "t1",
    }


def test_patterns_mind_the_case() -> None:
    assert made({"path": "/bin", "MY_KEY": "1", "MY_OTHER": "2"}, "PATH", "MY_*") == {
        "MY_KEY": "1",
        "MY_OTHER": "2",
        "CODEX_SUPERVISOR_CHILD": "t1",
    }


@pytest.mark.parametrize("name", ["NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS", "CODEX_THREAD_ID"])
def test_never_however_much_is_allowed(name: str) -> None:
    assert name not in made({name: "1"}, "*", extra={name: "2"})


def test_what_wins() -> None:
    parent = {"CODEX_HOME": "/parent", "LANG": "C", "CODEX_SUPERVISOR_CHILD": "another's"}
    environment = made(parent, "*", extra={"LANG": "C.UTF-8", "CODEX_HOME": "/extra"}, home="/given")
    assert environment == {"CODEX_HOME": "/given", "LANG": "C.UTF-8", "CODEX_SUPERVISOR_CHILD": "t1"}
    assert made(parent, "*")["CODEX_HOME"] == "/parent"


@pytest.mark.parametrize("extra", [{"": "x"}, {"A=B": "x"}, {"A": "x\0y"}, {"A\0": "x"}])
def test_a_bad_name_is_a_clear_error(extra: dict[str, str]) -> None:
    with pytest.raises(BadConfig, match="environment variable"):
        made({}, extra=extra)


@given(st.dictionaries(NAMES, VALUES), st.lists(NAMES))
def test_nothing_comes_from_nowhere(parent: dict[str, str], allow: list[str]) -> None:
    environment = child_environment(parent, allow=allow, extra={}, token="t1", codex_home="")
    assert environment.pop("CODEX_SUPERVISOR_CHILD") == "t1"
    assert environment.items() <= parent.items()
