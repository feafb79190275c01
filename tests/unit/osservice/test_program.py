"""What the service will run is found as it was started."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from codex_control.errors import BadConfig
from codex_supervisor.osservice.program import codex_note, find_program


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("codex-supervisor", "codexctl", "codex", "python"):
        shutil.copy("/bin/true", folder / name)
    return folder


def test_the_started_script_is_kept_with_its_links(scripts: Path, tmp_path: Path) -> None:
    for name in ("codex-supervisor", "codexctl"):
        (tmp_path / name).symlink_to(scripts / name)
    found = find_program(str(tmp_path / "codex-supervisor"), "/usr/bin/python3", {"PATH": ""})
    assert found.commands["codex-supervisor"] == (str(tmp_path / "codex-supervisor"),)
    assert found.commands["codexctl"] == (str(tmp_path / "codexctl"),)


def test_without_a_script_the_one_beside_python_or_the_module_is_run(scripts: Path, tmp_path: Path) -> None:
    assert find_program("/x/__main__.py", str(scripts / "python"), {}).commands["codexctl"] == (
        str(scripts / "codexctl"),
    )
    assert find_program("/x/__main__.py", str(tmp_path / "python"), {}).commands["codexctl"] == (
        str(tmp_path / "python"),
        "-m",
        "codexctl",
    )


def test_path_is_absolute_without_repeats_and_finds_codex(scripts: Path) -> None:
    found = find_program("x", "/usr/bin/python3", {"PATH": f".:{scripts}::rel/bin:/usr/bin:{scripts}"})
    assert found.environment == {"PATH": f"{scripts}:/usr/bin:/usr/local/bin:/bin:/usr/sbin:/sbin"}
    assert str(scripts / "codex") in codex_note(found)


def test_places_are_kept_and_nothing_else() -> None:
    environ = {"PATH": "/bin", "CODEX_HOME": "/c", "XDG_STATE_HOME": "relative", "OPENAI_API_KEY": "secret"}
    assert set(find_program("x", "/usr/bin/python3", environ).environment) == {"PATH", "CODEX_HOME"}


def test_children_find_a_gateway_whose_places_were_moved() -> None:
    moved = {"CODEX_GATEWAY_STATE_DIR": "/s", "CODEX_GATEWAY_RUNTIME_DIR": "/r"}
    assert moved.items() <= find_program("x", "/usr/bin/python3", {"PATH": "/bin", **moved}).environment.items()


def test_control_characters_are_refused() -> None:
    with pytest.raises(BadConfig, match="control character"):
        find_program("x", "/usr/bin/python3", {"PATH": "/bin:/a\nExecStart=/evil"})


def test_the_wish_for_the_demo_is_kept() -> None:
    environ = {"PATH": "/bin", "CODEX_SUPERVISOR_DEMO": "yes"}
    assert find_program("x", "/usr/bin/python3", environ).environment["CODEX_SUPERVISOR_DEMO"] == "1"
    assert "CODEX_SUPERVISOR_DEMO" not in find_program("x", "/usr/bin/python3", {"PATH": "/bin"}).environment
