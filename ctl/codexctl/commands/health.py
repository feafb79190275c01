"""codexctl health: does the service serve."""

from __future__ import annotations

import click

from codexctl.session import Session, verb


@click.command("health")
@verb
def command(session: Session) -> int:
    """Print whether the service serves (grpc.health.v1), and where the tasks are kept.

    Does not start it. Exit code 0 where it serves, 3 where not; tasks that cannot run are named and change nothing in
    that: sessions and their asks do without.
    """
    from codex_control.errors import Exit
    from codex_control.safe_text import one_line

    client = session.client(start=False)

    from codex_control.v1.admin_pb2 import VersionRequest, VersionResponse
    from grpc_health.v1.health_pb2 import (
        HealthCheckRequest,
        HealthCheckResponse,
    )

    from codexctl.output import put, put_json

    answer = client.call("grpc.health.v1.Health.Check", HealthCheckRequest(), HealthCheckResponse, timeout_s=5)
    name = HealthCheckResponse.ServingStatus.Name(answer.status).lower()
    version = client.call("Admin.Version", VersionRequest(), VersionResponse, timeout_s=5)
    if session.json:
        put_json({"status": name, "tasks": {"engine": version.task_engine, "trouble": version.task_trouble}})
    else:
        put(name.replace("_", " "))
        if version.task_engine:  # else the service is older
            trouble = f": {one_line(version.task_trouble, 1000)}" if version.task_trouble else ""
            put(f"tasks in {version.task_engine}{trouble}")
    return Exit.OK if answer.status == HealthCheckResponse.SERVING else Exit.UNAVAILABLE
