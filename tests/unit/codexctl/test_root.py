"""All verbs: that they are there, and that looking at them loads little."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path

import click
import codexctl
import pytest
from codex_gateway.root import cli as gateway
from codex_supervisor.root import cli as supervisor
from codexctl.commands.task import HELP as TASK_HELP
from codexctl.commands.task import VERBS as TASK_VERBS
from codexctl.json_schema import VERBS as DESCRIBED
from codexctl.root import HELP, VERBS, cli

HEAVY = ("grpc", "rich", "google.protobuf", "asyncio", "codex_supervisor")


def test_every_module_is_a_verb() -> None:
    folder = Path(codexctl.__file__).parent / "commands"
    assert {path.stem for path in folder.iterdir()} - {"__init__", "__pycache__"} == set(VERBS)


def test_every_module_of_task_is_a_verb() -> None:
    folder = Path(codexctl.__file__).parent / "commands" / "task"
    assert {path.stem for path in folder.glob("*.py")} - {"__init__"} == set(TASK_VERBS)


def leaves() -> list[tuple[str, click.Command]]:
    """All commands that do something, with their names as typed."""
    context = click.Context(cli)
    found = []
    for verb in VERBS:
        command = cli.get_command(context, verb)
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                one = command.get_command(context, name)
                assert one is not None
                found.append((f"{verb} {name}", one))
        else:
            assert command is not None
            found.append((verb, command))
    return found


@pytest.mark.parametrize(("name", "command"), leaves(), ids=[name for name, _ in leaves()])
def test_every_verb_has_help_and_json_with_a_schema(name: str, command: click.Command) -> None:
    assert command.help
    assert len(command.help.splitlines()[0]) < 100
    if name not in ("completion", "hook", "mcp"):  # what these print has another form
        assert "--json" in {option for parameter in command.params for option in parameter.opts}
        assert name in DESCRIBED


def helps(command: click.Command, path: str) -> Iterator[tuple[str, list[str]]]:
    """The lines of help of `command` and of all below it, as a terminal of 80 columns has them."""
    context = click.Context(command, info_name=path, terminal_width=80)
    yield path, command.get_help(context).splitlines()
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from helps(below, f"{path} {name}")


@pytest.mark.parametrize(
    "program", [("codexctl", cli), ("codex-supervisor", supervisor), ("codex-gateway", gateway)], ids=itemgetter(0)
)
def test_no_help_is_cut_or_longer_than_a_line_of_80_columns(program: tuple[str, click.Command]) -> None:
    for path, lines in helps(program[1], program[0]):
        assert not [line for line in lines if len(line) > 80], path
        assert not [line for line in lines if line.endswith("...") and not line.startswith("Usage: ")], path


@pytest.mark.parametrize("sections", [HELP, {"task": TASK_HELP}], ids=["verbs", "task verbs"])
def test_the_list_of_verbs_has_a_line_for_each(sections: dict[str, dict[str, str]]) -> None:
    width = max(len(name) for section in sections.values() for name in section)
    for section in sections.values():
        for text in section.values():
            assert len(text) <= 80 - 2 - (2 + width + 2), text


def loaded_by(*arguments: str, environment: dict[str, str] | None = None) -> tuple[set[str], str]:
    """The heavy modules that a command line loads in a process of its own, and its output."""
    program = (
        "import sys, os\n"
        "leave = os._exit\n"
        "def tell(code):\n"
        f"    print('LOADED', *[m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr, flush=True)\n"
        "    leave(code)\n"
        "os._exit = sys.exit = tell\n"
        f"sys.argv = ['codexctl', *{arguments!r}]\n"
        "from codexctl.__main__ import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    marked = next(line for line in done.stderr.splitlines() if line.startswith("LOADED"))
    return set(marked.split()[1:]), done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["ask", "--help"],
        ["task", "--help"],
        ["task", "submit", "--help"],
        ["completion", "bash"],
        ["completion", "zsh"],
        ["completion", "fish"],
    ],
    ids=" ".join,
)
def test_help_version_and_completion_load_nothing_heavy(arguments: list[str]) -> None:
    loaded, out = loaded_by(*arguments)
    assert loaded == set()
    assert "codexctl" in out


@pytest.mark.parametrize(("words", "expected"), [("codexctl sta", "status"), ("codexctl stop pro", "")])
def test_completing_loads_nothing_heavy(words: str, expected: str, tmp_path: Path) -> None:
    loaded, out = loaded_by(
        environment={
            "_CODEXCTL_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
            "CODEX_SUPERVISOR_RUNTIME_DIR": str(tmp_path / "nothing"),
            "CODEX_SUPERVISOR_STATE_DIR": str(tmp_path / "state"),
            "PATH": "",
            "HOME": str(tmp_path),
        }
    )
    assert loaded == set()
    assert expected in out


def test_a_wrong_verb_gets_the_nearest_ones(capsys: pytest.CaptureFixture[str]) -> None:
    from codexctl.__main__ import run

    assert run(["statsu"]) == 2
    assert "did you mean 'status'?" in capsys.readouterr().err
