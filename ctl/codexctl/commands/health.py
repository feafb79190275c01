"""codexctl health: does the service serve."""

from __future__ import annotations

import click

from codexctl.session import Session, verb


@click.command("health")
@verb
def command(session: Session) -> int:
    """Print whether the service serves (grpc.health.v1).

    Does not start it. Exit code 0 where it serves, 3 where not.
    """
    from codex_control.errors import Exit

    client = session.client(start=False)

    from grpc_health.v1.health_pb2 import (
        HealthCheckRequest,
        HealthCheckResponse,
    )

    from codexctl.output import put, put_json

    answer = client.call("grpc.health.v1.Health.Check", HealthCheckRequest(), HealthCheckResponse, timeout_s=5)
    name = HealthCheckResponse.ServingStatus.Name(answer.status).lower()
    if session.json:
        put_json({"status": name})
    else:
        put(name.replace("_", " "))
    return Exit.OK if answer.status == HealthCheckResponse.SERVING else Exit.UNAVAILABLE
