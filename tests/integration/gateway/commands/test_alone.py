"""What the commands do without a gateway."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from codex_control.errors import Exit

from tests.integration.gateway.commands.conftest import CONFIG, KEY, states
from tests.support.gateway_program import GatewayProgram

CCCC = """\
endpoints:
  - name: relay
    url_anthropic: http://127.0.0.1:1
    auth_type: api_key
    auth_value: {key}
    enabled: true
    priority: 1
"""


async def test_help_and_wrong_words(program: GatewayProgram) -> None:
    told = await program.done("--help")
    for name in ("serve", "setup", "endpoints", "tokens", "requests", "learned", "status", "completion"):
        assert f"  {name} " in told.out
        assert "Usage:" in (await program.done(name, "--help")).out
    wrong = await program.run("endpoint")
    assert wrong.code == Exit.USAGE
    assert "endpoints" in wrong.err


async def test_without_a_gateway_what_can_be_known_is_said(program: GatewayProgram) -> None:
    status = await program.run("status")
    assert status.code == Exit.UNAVAILABLE
    assert "does not run" in status.out
    assert "codex-gateway serve" in status.out
    as_json = await program.run("status", "--json")
    assert (as_json.code, as_json.json["running"], as_json.json["today"]) == (Exit.UNAVAILABLE, False, None)
    none = await program.done("endpoints")
    assert "there is no endpoint" in none.out
    assert (await program.done("learned")).out == "nothing is learned\n"
    for command in (("requests",), ("stats",), ("requests", "--json")):
        ran = await program.done(*command)
        assert ran.out == "", command
        assert "no requests yet" in ran.err
        assert "codex-gateway serve" in ran.err
    for command in (("show", "1"), ("export", "1")):
        ran = await program.run(*command)
        assert ran.code == Exit.NOT_FOUND, command
        assert "codex-gateway serve" in ran.err
    for command in (("endpoints", "test"), ("endpoints", "reset")):
        ran = await program.run(*command)
        assert ran.code == Exit.UNAVAILABLE, command
        assert "codex-gateway serve" in ran.err


async def test_endpoints_are_switched_in_the_file_without_a_gateway(program: GatewayProgram) -> None:
    text = CONFIG.format(one="http://127.0.0.1:1", two="http://127.0.0.1:2", key=KEY)
    program.write_config(text)
    listed = await program.done("endpoints", "--json")
    assert states(listed) == {"one": "enabled", "two": "enabled"}
    assert "how they are is not known" in listed.err
    assert KEY not in listed.out
    off = await program.done("endpoints", "disable", "one")
    assert "holds from the next start" in off.out
    assert program.paths.config_file.read_text() == text.replace("- name: one\n", "- name: one\n    enabled: false\n")
    assert states(await program.done("endpoints", "list", "--json")) == {"one": "disabled", "two": "enabled"}
    reordered = await program.done("endpoints", "reorder", "two", "--json")
    assert [one["name"] for one in reordered.json["endpoints"]] == ["two", "one"]
    assert reordered.json["gateway_runs"] is False
    written = program.paths.config_file.read_text()
    assert written.index("# The second one.") < written.index("- name: two") < written.index("# The first one.")
    unknown = await program.run("endpoints", "enable", "tow")
    assert unknown.code == Exit.NOT_FOUND
    assert "two" in unknown.err
    assert program.paths.config_file.read_text() == written


async def test_a_wrong_configuration_is_named_with_its_line(program: GatewayProgram) -> None:
    program.write_config("endpoints:\n  - name: one\n    urll: http://127.0.0.1:1\n")
    for command in (("serve",), ("config", "check"), ("endpoints",)):
        ran = await program.run(*command)
        assert ran.code == Exit.CONFIG, (command, ran)
        # The key that is missing is missing because another one is written wrong: that one first.
        assert "line 3, column 5: there is no key `endpoints[0].urll`" in ran.err
        assert ran.err.index("line 3") < ran.err.index("line 2")


async def test_the_configuration_is_shown_without_its_secrets(program: GatewayProgram) -> None:
    missing = await program.done("config", "check")
    assert "there is no endpoint" in missing.out
    program.write_config(CONFIG.format(one="http://127.0.0.1:1", two="http://127.0.0.1:2", key=KEY))
    assert "2 endpoints, 2 of them enabled" in (await program.done("config", "check")).out
    shown = (await program.done("config", "show")).out
    assert "http://127.0.0.1:2" in shown
    assert KEY not in shown
    assert "`endpoints[].url`" in (await program.done("config", "reference")).out
    assert (await program.run("config", "check", "/nowhere.yaml")).code == Exit.USAGE
    version = (await program.done("version", "--json")).json["version"]
    assert version in (await program.done("--version")).out


async def test_another_proxys_endpoints_are_taken_over(program: GatewayProgram, tmp_path: Path) -> None:
    theirs = tmp_path / "config.yaml"
    theirs.write_text(CCCC.format(key=KEY))
    dry = await program.done("import", "cccc", str(theirs), "--dry-run")
    assert "relay" in dry.out
    assert KEY not in dry.out + dry.err
    assert not program.paths.config_file.exists()
    await program.done("import", "cccc", str(theirs))
    assert stat.S_IMODE(program.paths.config_file.stat().st_mode) == 0o600
    assert states(await program.done("endpoints", "--json")) == {"relay": "enabled"}
    again = await program.run("import", "cccc", str(theirs))
    assert again.code == Exit.USAGE
    assert "already" in again.err
    assert (await program.run("import", "cccc", "/nowhere.yaml")).code == Exit.USAGE


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_completion(program: GatewayProgram, shell: str) -> None:
    script = (await program.done("completion", shell)).out
    assert "_CODEX_GATEWAY_COMPLETE" in script
    program.write_config(CONFIG.format(one="http://127.0.0.1:1", two="http://127.0.0.1:2", key=KEY))
    words = {"_CODEX_GATEWAY_COMPLETE": "bash_complete", "COMP_WORDS": "codex-gateway st", "COMP_CWORD": "1"}
    assert (await program.run(**words)).out.split() == ["plain,stats", "plain,status"]
    words |= {"COMP_WORDS": "codex-gateway endpoints re", "COMP_CWORD": "2"}
    assert (await program.run(**words)).out.split() == ["plain,reorder", "plain,reset"]
    words |= {"COMP_WORDS": "codex-gateway endpoints disable t", "COMP_CWORD": "3"}
    assert (await program.run(**words)).out.split() == ["plain,two"]
