"""What is wrong is said before anything is sent, and what the service says is told in one sentence and a next step."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from codex_control import errors
from codex_control.v1 import turns_pb2 as tpb
from codexctl.prompt_input import MAX_STDIN_BYTES

from .conftest import Ctl
from .fake_supervisor import FakeSupervisor


def prepared(home: Path) -> None:
    """Files that cannot be used."""
    work = home / "work"
    (work / "empty.png").write_bytes(b"")
    (work / "bad.json").write_text('{"type": object}')
    (work / "list.json").write_text("[]")
    (work / "latin1.json").write_bytes(b'{"title": "\xfc"}')


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (["ask", ""], b"", "the prompt is empty"),
        (["ask", "-"], b" \n", "the prompt is empty"),
        (["ask", "-"], b"caf\xe9", "byte 3 is 0xe9"),
        (["ask", "-"], b"a\0b", "binary data"),
        (["ask", "a\0b"], b"", "binary data"),
        (["ask", "caf\udce9"], b"", "not UTF-8"),
        (["ask", "-"], b"x" * (MAX_STDIN_BYTES + 1), "too long"),
        (["ask", "x", "--image", "missing.png"], b"", "there is no such file"),
        (["ask", "x", "--image", "."], b"", "no regular file"),
        (["ask", "x", "--image", "empty.png"], b"", "it is empty"),
        (["ask", "x", "--cwd", "missing"], b"", "no such directory"),
        (["ask", "x", "--cwd", "bad.json"], b"", "not a directory"),
        (["ask", "x", "--schema", "missing.json"], b"", "No such file"),
        (["ask", "x", "--schema", "bad.json"], b"", "at line 1, column 10"),
        (["ask", "x", "--schema", "list.json"], b"", "not an object"),
        (["ask", "x", "--schema", "latin1.json"], b"", "not UTF-8"),
        (["ask", "x", "-i", "no such id"], b"", "is no instance"),
        (["ask", "x", "--timeout", "soon"], b"", "no duration"),
        (["ask", "x", "--timeout", "0"], b"", "no duration"),
        (["ask", "x", "--request-id", "y" * 129], b"", "1 to 128"),
        (["steer", "-"], b"", "the text is empty"),
        (["approve", "ap1", "--answer", "nothing"], b"", "--answer ID=TEXT"),
        (["config", "set", "profil", "x"], b"", "Did you mean profile"),
        (["history", "--clear"], b"", "add --yes"),
        (["history", "--clear", "--all", "--yes"], b"", "one instance"),
        (["history", "--export", "--search", "x"], b"", "exclude each other"),
        (["delete"], b"", "no instance is named"),
        (["nonsense"], b"", "No such command"),
        (["ask", "x", "--imagine"], b"", "--imagine"),
        (["ask", "- a list"], b"", "codexctl ask -- '- a text'"),
    ],
    ids=str,
)
def test_wrong_usage_is_refused_before_anything_is_sent(
    ctl: Ctl, fake: FakeSupervisor, home: Path, arguments: list[str], stdin: bytes, said: str
) -> None:
    prepared(home)
    result = ctl(*arguments, stdin=stdin)
    assert result.code == 2
    assert result.out == ""
    assert said.lower() in result.err.lower()
    assert fake.requests == []


def test_an_unreadable_image(ctl: Ctl, fake: FakeSupervisor, home: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    (home / "work" / "secret.png").write_bytes(b"png")
    (home / "work" / "secret.png").chmod(0)
    assert "not readable" in ctl("ask", "x", "--image", "secret.png").err


def test_invalid_bytes_on_the_command_line(ctl: Ctl, fake: FakeSupervisor) -> None:
    with ctl.process("ask", os.fsdecode(b"caf\xe9")) as process:
        _, err = process.communicate(timeout=20)
    assert process.returncode == 2
    assert err.splitlines()[0] == "codexctl: the prompt is not UTF-8."


@pytest.mark.parametrize("kind", errors.all_errors().values(), ids=lambda kind: kind.reason)
def test_each_error_of_the_service_is_told_with_its_next_step(
    ctl: Ctl, fake: FakeSupervisor, kind: type[errors.CodexError]
) -> None:
    fake.errors["Ask"] = kind("it is so", why="because of \x1b[31mthat", next_step="do this")
    result = ctl("ask", "hi")
    assert result.code == kind.exit_code
    assert result.err == "codexctl: it is so: because of that.\n  next: do this\n"
    assert result.out == ""


def test_the_limit_of_the_service_on_prompts(ctl: Ctl, fake: FakeSupervisor) -> None:
    fake.errors["Ask"] = errors.LimitExceeded("the prompt is too long", why="2,000,000 > 1,048,576 characters")
    assert ctl("ask", "x" * 2000).code == 5


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (grpc.StatusCode.UNIMPLEMENTED, 10, "another version"),
        (grpc.StatusCode.INTERNAL, 1, "the service failed: INTERNAL: no details here"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 8, "did not answer in time"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 5, "no details here"),
        (grpc.StatusCode.INVALID_ARGUMENT, 2, "no details here"),
        (grpc.StatusCode.NOT_FOUND, 4, "no details here"),
        (grpc.StatusCode.FAILED_PRECONDITION, 10, "no details here"),
        (grpc.StatusCode.UNAVAILABLE, 3, "the service does not answer"),
    ],
)
def test_an_error_without_details(
    ctl: Ctl, fake: FakeSupervisor, status: grpc.StatusCode, code: int, said: str
) -> None:
    fake.errors["Steer"] = status
    result = ctl("steer", "hi")
    assert (result.code, result.out) == (code, "")
    assert said in result.err


def test_errors_as_json(ctl: Ctl, fake: FakeSupervisor) -> None:
    fake.errors["Steer"] = errors.WrongState("nothing runs", next_step="ask first")
    result = ctl("steer", "hi", "--json")
    assert result.code == 10
    assert result.json == {
        "error": {"reason": "WRONG_STATE", "what": "nothing runs", "why": "", "next": "ask first", "exit_code": 10}
    }
    assert result.err == "codexctl: nothing runs.\n  next: ask first\n"


def open_directory(fake: FakeSupervisor) -> None:
    fake.socket_path.parent.chmod(0o755)


def no_socket(fake: FakeSupervisor) -> None:
    fake.stop()
    fake.socket_path.unlink(missing_ok=True)
    fake.socket_path.write_text("")


def linked_directory(fake: FakeSupervisor) -> None:
    folder = fake.socket_path.parent
    moved = folder.rename(folder.with_name("real"))
    folder.symlink_to(moved)


def of_another_user(fake: FakeSupervisor) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(fake.socket_path, 12345, 12345)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (open_directory, "open to other users"),
        (no_socket, "is not a socket"),
        (linked_directory, "is not a directory"),
        (of_another_user, "belongs to another user"),
    ],
)
def test_nothing_is_sent_to_a_socket_that_is_not_ours_alone(
    ctl: Ctl, fake: FakeSupervisor, spoil: Callable[[FakeSupervisor], None], said: str
) -> None:
    spoil(fake)
    result = ctl("ask", "hi")
    assert result.code == 9
    assert said in result.err
    assert "next: " in result.err
    assert fake.requests == []


def test_a_path_that_is_too_long(ctl: Ctl) -> None:
    ctl.environment["CODEX_SUPERVISOR_RUNTIME_DIR"] = "/tmp/" + "x" * 120
    result = ctl("status")
    assert result.code == 9
    assert "too long" in result.err


def test_no_home(ctl: Ctl) -> None:
    for name in ("HOME", "CODEX_SUPERVISOR_RUNTIME_DIR", "CODEX_SUPERVISOR_STATE_DIR"):
        del ctl.environment[name]
    result = ctl("status")
    assert result.code == 9
    assert result.err.startswith("codexctl: HOME is not set")


def test_an_unknown_turn(ctl: Ctl, fake: FakeSupervisor) -> None:
    result = ctl("attach", "nothing")
    assert result.code == 4
    assert result.err == "codexctl: there is no turn nothing.\n  next: codexctl turns lists them\n"
    assert fake.last(tpb.AttachRequest).turn_id == "nothing"
