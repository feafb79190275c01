"""Clients' settings: changed, changed again, and given back byte for byte."""

from __future__ import annotations

import json
import stat
import tomllib
from pathlib import Path

import pytest
from codex_control.errors import BadConfig, NotFound
from codex_gateway.setup.clients import CLIENTS
from codex_gateway.setup.files import SettingsFile

URL, TOKEN = "http://127.0.0.1:9477", "sk-cgw-secret"

CODEX = """\
# mine
model = "gpt-5"   # the good one
model_provider = "azure"

[model_providers.azure]
name = "Azure"
base_url = "https://x.example/openai"

[features]
web_search = true  # yes


# the end
"""
TEXTS = {
    "codex": [
        "",
        "# nothing\n",
        CODEX,
        CODEX.replace("\n", "\r\n"),
        CODEX.rstrip(),
        "[tui]\nx = 1\n",
        'a = 1\n[model_providers]\nb = {name = "b"}',
    ],
    "claude-code": [
        "",
        "{}",
        '{"model": "opus"}',
        '{\n\t"env": {\n\t\t"A": "1",\n\t\t"ANTHROPIC_BASE_URL": "https://relay.example"\n\t}\n}\n',
        '{\n    "permissions": {"allow": ["Bash(ls:*)"]},\n    "höhe": "ü"\n}',
    ],
}
ALL = [(name, text) for name, texts in TEXTS.items() for text in texts]


def settings_file(name: str, tmp_path: Path) -> SettingsFile:
    return SettingsFile(CLIENTS[name], tmp_path / "client" / "settings", tmp_path / "backups")


def set_up(file: SettingsFile, url: str = URL, token: str = TOKEN, model: str = "") -> str:
    edit = file.edit(file.client.wanted(url, token, model))
    file.write(edit)
    return edit.text


def written(file: SettingsFile, text: str | None) -> None:
    file.path.parent.mkdir(exist_ok=True)
    if text is not None:
        file.path.write_bytes(text.encode())


def test_directories_that_were_made_for_it_go_with_it(tmp_path: Path) -> None:
    made = SettingsFile(CLIENTS["codex"], tmp_path / "new" / "client" / "settings", tmp_path / "backups")
    for _ in range(2):
        set_up(made)
    made.undo()
    assert not (tmp_path / "new").exists()
    (tmp_path / "client").mkdir()
    there = settings_file("codex", tmp_path)
    set_up(there)
    there.undo()
    assert (tmp_path / "client").exists(), "it was there before"
    set_up(made)
    (tmp_path / "new" / "mine").touch()
    made.undo()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["mine"]


@pytest.mark.parametrize(("name", "text"), [*ALL, ("codex", None), ("claude-code", None)])
def test_it_leads_there_and_back_byte_for_byte(name: str, text: str | None, tmp_path: Path) -> None:
    file = settings_file(name, tmp_path)
    written(file, text)
    if text is not None:
        file.path.chmod(0o644)
    set_up(file)
    url, token, _ = file.client.connection(file.client.read_back(file.path.read_text()))
    assert url.startswith(URL)
    assert token == TOKEN
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert "is as it was" in file.undo()
    if text is None:
        assert not file.path.exists()
    else:
        assert file.path.read_bytes() == text.encode()
        assert stat.S_IMODE(file.path.stat().st_mode) == 0o644
    with pytest.raises(NotFound):
        file.undo()


@pytest.mark.parametrize(("name", "text"), ALL)
def test_twice_is_once(name: str, text: str, tmp_path: Path) -> None:
    file = settings_file(name, tmp_path)
    written(file, text)
    first = set_up(file)
    assert file.edit(file.client.wanted(URL, TOKEN, "")).changes_nothing
    assert set_up(file, "http://127.0.0.1:1") != first
    assert set_up(file) == first
    file.undo()
    assert file.path.read_bytes() == text.encode()


def test_comments_and_order_stay(tmp_path: Path) -> None:
    file = settings_file("codex", tmp_path)
    written(file, CODEX)
    lines = set_up(file, model="m").splitlines()
    kept = [line for line in CODEX.splitlines() if not line.startswith("model")]
    assert [line for line in lines if line in kept][: len(kept)] == kept
    assert 'model = "m"   # the good one' in lines
    assert tomllib.loads("\n".join(lines))["model_provider"] == "codex-gateway"


def test_what_the_user_changed_since_stays(tmp_path: Path) -> None:
    file = settings_file("codex", tmp_path)
    written(file, CODEX)
    set_up(file)
    file.path.write_text(file.path.read_text().replace("web_search = true  # yes", "web_search = false  # no"))
    assert "was changed since" in file.undo()
    now = file.path.read_text()
    assert "web_search = false  # no" in now
    assert tomllib.loads(now) == tomllib.loads(CODEX.replace("web_search = true", "web_search = false"))


def test_what_the_user_changed_between_two_set_ups_stays(tmp_path: Path) -> None:
    file = settings_file("claude-code", tmp_path)
    written(file, '{"model": "opus"}')
    set_up(file)
    settings = json.loads(file.path.read_text())
    file.path.write_text(json.dumps({**settings, "theme": "dark"}))
    set_up(file, "http://127.0.0.1:1")
    file.undo()
    assert json.loads(file.path.read_text()) == {"model": "opus", "theme": "dark"}


def test_a_client_that_only_wrote_its_file_anew_gets_its_bytes_back(tmp_path: Path) -> None:
    file = settings_file("claude-code", tmp_path)
    text = '{"b": 1,  "a": 2}'
    written(file, text)
    set_up(file)
    file.path.write_text(json.dumps(json.loads(file.path.read_text()), indent=8, sort_keys=True))
    assert "is as it was" in file.undo()
    assert file.path.read_text() == text


def test_own_values_that_were_put_in_place_of_ours_stay(tmp_path: Path) -> None:
    file = settings_file("claude-code", tmp_path)
    set_up(file)
    settings = json.loads(file.path.read_text())
    settings["env"] = {"ANTHROPIC_BASE_URL": "https://mine.example", "ANTHROPIC_AUTH_TOKEN": "mine"}
    file.path.write_text(json.dumps(settings))
    assert "nothing of the gateway is left" in file.undo()
    assert json.loads(file.path.read_text()) == settings


def test_added_keys_of_our_provider_go_with_it(tmp_path: Path) -> None:
    file = settings_file("codex", tmp_path)
    written(file, CODEX)
    text = set_up(file)
    file.path.write_text(text.replace('wire_api = "responses"', 'wire_api = "responses"\nrequest_max_retries = 1'))
    file.undo()
    assert tomllib.loads(file.path.read_text()) == tomllib.loads(CODEX)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("codex", "a = ]\nb = 1\n", "line 1"),
        ("codex", 'model_providers = "x"', "no table"),
        ("claude-code", '{\n"a": 1,\n}', "line"),
        ("claude-code", "[1]", "no JSON object"),
        ("claude-code", '{"env": []}', "no table"),
    ],
)
def test_a_file_that_is_wrong_stays_as_it_is(name: str, text: str, said: str, tmp_path: Path) -> None:
    file = settings_file(name, tmp_path)
    written(file, text)
    with pytest.raises(BadConfig, match=said):
        set_up(file)
    assert file.path.read_text() == text
    assert not (tmp_path / "backups").exists()


def test_links_stay_links(tmp_path: Path) -> None:
    real, home = tmp_path / "dotfiles" / "settings.json", tmp_path / "claude"
    real.parent.mkdir()
    home.mkdir()
    real.write_text("{}")
    (home / "settings.json").symlink_to(real)
    client = CLIENTS["claude-code"]
    file = SettingsFile(client, client.path({"CLAUDE_CONFIG_DIR": str(home), "HOME": "/nowhere"}), tmp_path / "backups")
    set_up(file)
    assert (home / "settings.json").is_symlink()
    assert TOKEN in real.read_text()
    file.undo()
    assert real.read_text() == "{}"


def test_each_home_has_a_backup_of_its_own(tmp_path: Path) -> None:
    files = [SettingsFile(CLIENTS["codex"], tmp_path / name / "config.toml", tmp_path / "backups") for name in "ab"]
    for number, file in enumerate(files):
        file.path.parent.mkdir()
        file.path.write_text(f"n = {number}\n")
        set_up(file)
    for number, file in enumerate(files):
        file.undo()
        assert file.path.read_text() == f"n = {number}\n"


def test_what_keeps_a_client_away_is_said() -> None:
    assert CLIENTS["claude-code"].warnings({"env": {"CLAUDE_CODE_USE_BEDROCK": "1"}})
    assert not CLIENTS["claude-code"].warnings({"env": {"CLAUDE_CODE_USE_BEDROCK": "0"}})
    profile = {"profile": "p", "profiles": {"p": {"model_provider": "azure"}}}
    assert CLIENTS["codex"].warnings(profile)
    assert not CLIENTS["codex"].warnings({**profile, "profile": ""})
