"""`codex-gateway export`: one request as a zip."""

from __future__ import annotations

from pathlib import Path

import click

from codex_gateway.paths import GatewayPaths


@click.command()
@click.argument("request_id", metavar="ID")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The file. Default: request-NUMBER.zip here.")
@click.option("--json", "as_json", is_flag=True, help="Say what was written as one JSON object.")
def export(request_id: str, output: Path | None, as_json: bool) -> None:
    """Write one request to a zip, to look at elsewhere or to show to somebody.

    In it: the record, the client's request, every attempt's request and answer, the endpoints' and taggers' settings.
    Keys are taken out; prompts and answers are not.
    """
    from codex_control.errors import CodexError

    from codex_gateway.commands.printing import put_json
    from codex_gateway.config.reading import load_config
    from codex_gateway.config.reference import shown_values
    from codex_gateway.record.export import write_zip
    from codex_gateway.record.query import opened

    paths = GatewayPaths.from_environment()
    with opened(paths.database) as records:
        record = records.request(request_id)
        bodies = records.bodies(record)
    asked = {attempt.endpoint for attempt in record.attempts}
    try:
        values = shown_values(load_config(paths.config_file))
        settings = {
            "endpoints": [one for one in values.get("endpoints", ()) if one["name"] in asked],
            "tagging": values.get("tagging", {}),
        }
    except CodexError as error:
        # A request is wanted all the more where the configuration is wrong.
        settings = {"missing": str(error)}
        click.echo(f"note: without the settings: {error}", err=True)
    path = (output or Path(f"request-{record.number}.zip")).absolute()
    names = write_zip(path, record, bodies, settings)
    if as_json:
        put_json({"file": str(path), "entries": names})
        return
    click.echo(f"{path}: {', '.join(names)}")
    if not bodies:
        click.echo("no bodies were recorded of it (records.bodies)", err=True)
