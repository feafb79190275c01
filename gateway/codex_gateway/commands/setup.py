"""`codex-gateway setup claude-code|codex`: leads a client to the gateway, and undoes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from codex_gateway.paths import GatewayPaths

if TYPE_CHECKING:
    from codex_gateway.setup.clients import Client
    from codex_gateway.setup.files import SettingsFile

NAMES = ("claude-code", "codex")
_LOOPBACK = {"localhost": "127.0.0.1", "::1": "[::1]"}


@click.command()
@click.argument("client", type=click.Choice(NAMES))
@click.option("--print", "show", is_flag=True, help="Only show what would be written, without the token.")
@click.option("--test", "test", is_flag=True, help="Prove the connection with a real request; it costs a few tokens.")
@click.option("--undo", is_flag=True, help="Give the client's settings back as they were.")
@click.option("--model", default="", help="The model that the client asks for, or that --test asks for.")
@click.option("--json", "as_json", is_flag=True, help="Say what was done as one JSON object.")
def setup(client: str, show: bool, test: bool, undo: bool, model: str, as_json: bool) -> None:
    """Let Claude Code or Codex of this user ask the gateway.

    Writes the gateway's address and the client's own token into ~/.claude/settings.json (CLAUDE_CONFIG_DIR) or
    ~/.codex/config.toml (CODEX_HOME), and keeps what was there for --undo.
    """
    import os

    from codex_control.errors import BadConfig, BadInput

    from codex_gateway.setup.clients import CLIENTS
    from codex_gateway.setup.files import SettingsFile

    if show + test + undo > 1:
        raise BadInput("--print, --test and --undo do not go together", next_step="give one of them")
    chosen, paths = CLIENTS[client], GatewayPaths.from_environment()
    try:
        path = chosen.path(os.environ)
    except KeyError as error:
        raise BadConfig("HOME is not set", next_step="set it: the client's settings are below it") from error
    file = SettingsFile(chosen, path, paths.backup_dir)
    if undo:
        _say({"client": client, "file": str(path), "done": file.undo()}, as_json)
    elif test:
        _test(chosen, file, model, as_json)
    elif show:
        _show(chosen, file, paths, model)
    else:
        _write(chosen, file, paths, model, as_json)


def _say(value: dict[str, object], as_json: bool) -> None:
    from codex_gateway.commands.printing import put_json

    if as_json:
        put_json(value)
    else:
        click.echo(value["done"])


def _write(client: Client, file: SettingsFile, paths: GatewayPaths, model: str, as_json: bool) -> None:
    from codex_control.gateway_paths import running_pid

    from codex_gateway.running import tokens_of

    url = _url(paths)
    token = tokens_of(paths.token_dir).text_of(client.kind)
    edit = file.edit(client.wanted(url, token, model))
    if not edit.changes_nothing:
        file.write(edit)
    for warning in client.warnings(client.read_back(edit.text)):
        click.echo(f"note: {warning}", err=True)
    done = f"{file.path} leads {client.title} to {url}" + (" already" if edit.changes_nothing else "")
    runs = running_pid(paths) is not None
    _say({"client": str(client.kind), "file": str(file.path), "url": url, "gateway_runs": runs, "done": done}, as_json)
    if not runs:
        click.echo(
            f"note: no gateway runs, and until one does {client.title} cannot ask anything: start it with "
            "`codex-gateway serve`, or install it with `codex-gateway install --now`",
            err=True,
        )
    if not as_json:
        click.echo(f"prove it with `codex-gateway setup {client.kind} --test`, undo it with --undo")


def _show(client: Client, file: SettingsFile, paths: GatewayPaths, model: str) -> None:
    from codex_gateway.setup.changes import put

    hidden = f"(the output of `codex-gateway tokens text {client.kind}`)"
    settings = client.parse("")
    put(settings, client.wanted(_url(paths), hidden, model))
    click.echo(f"# {file.path}", err=True)
    click.echo(client.write(settings, ""), nl=False)


def _test(client: Client, file: SettingsFile, model: str, as_json: bool) -> None:
    import msgspec
    from codex_control.errors import BadConfig

    from codex_gateway.commands.printing import duration, put_json
    from codex_gateway.setup.proof import prove

    try:
        url, token, own_model = client.connection(client.read_back(file.read() or ""))
    except ValueError as error:
        raise BadConfig(f"{file.path} cannot be read", why=str(error), next_step="put it right first") from error
    if not url.startswith("http://") or not token:
        raise BadConfig(
            f"{file.path} does not lead {client.title} to the gateway",
            next_step=f"run `codex-gateway setup {client.kind}` first",
        )
    proof = prove(client.dialect, url, token, model or own_model)
    if as_json:
        put_json({"client": str(client.kind), "file": str(file.path)} | msgspec.to_builtins(proof))
        return
    click.echo(
        f"{proof.url} answered as {client.title} will see it: model {proof.model}, first byte after "
        f"{duration(proof.first_byte_s)}, whole after {duration(proof.duration_s)}"
    )


def _url(paths: GatewayPaths) -> str:
    """Where clients will find the gateway: where it runs now, else where the configuration says."""
    from codex_control.errors import BadConfig

    from codex_gateway.config.reading import load_config
    from codex_gateway.running import RunningGateway

    listen = load_config(paths.config_file).listen
    host = _LOOPBACK.get(listen.host, listen.host)
    gateway = RunningGateway.find(paths)
    if gateway is None and not listen.port:
        raise BadConfig(
            "the gateway's port is not known",
            why="listen.port is 0, and no gateway runs",
            next_step="set listen.port in config.yaml",
        )
    configured = f"http://{host}:{listen.port}"
    if gateway is None:
        return configured
    url = gateway.url.replace("localhost", "127.0.0.1")
    if url != configured:
        otherwise = f"config.yaml says {configured}" if listen.port else "only until it ends: listen.port is 0"
        click.echo(f"note: the running gateway listens on {url}, {otherwise}", err=True)
    return url
