"""codexctl profiles: the named bundles of effort, model and instructions."""

from __future__ import annotations

import click

from codexctl.session import Session, starting_verb


@click.command("profiles")
@starting_verb
def command(session: Session) -> None:
    """List the profiles: reasoning effort, model and instructions by name; ask --profile takes one."""
    client = session.client(start=True)

    from codex_control.v1.admin_pb2 import ProfilesRequest, ProfilesResponse

    from codexctl.output import put_json, put_table, table_width

    profiles = client.call("Admin.Profiles", ProfilesRequest(), ProfilesResponse).profiles
    if session.json:
        from codexctl.json_form import to_json

        put_json([to_json(one) for one in profiles])
        return
    rows = [(one.name, one.effort, one.model, one.summary, one.sandbox, one.developer_instructions) for one in profiles]
    put_table(("PROFILE", "EFFORT", "MODEL", "SUMMARY", "SANDBOX", "INSTRUCTIONS"), rows, width=table_width())
