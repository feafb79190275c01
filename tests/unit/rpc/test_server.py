"""What gRPC itself logs."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from codex_supervisor.rpc.server import ControlServer
from grpc._cython import cygrpc  # type: ignore[attr-defined]


async def test_a_client_that_vanishes_is_one_quiet_line(
    short_runtime_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = ControlServer(short_runtime_dir / "control.sock", [])
    await server.start()
    caplog.set_level(logging.DEBUG)
    log = logging.getLogger(cygrpc.__name__)
    for error in cygrpc.ExecuteBatchError("the client is gone"), ValueError("a fault"):
        log.error("raised in core by [%s]", "Ask", exc_info=error)
    # Ended by name: grpcio 1.85 logs a server that is collected without it, and a record that keeps the dying server
    # corrupts the memory of the process.
    await server.stop(0)
    told = [record for record in caplog.records if record.levelno > logging.DEBUG or record.name != log.name]
    vanished, other = [record for record in told if "Ask" in f"{record.getMessage()}{vars(record).get('grpc', '')}"]
    assert (vanished.levelname, vanished.message, vanished.exc_info) == ("DEBUG", "client_vanished", None)
    assert (other.levelname, other.name) == ("ERROR", log.name)
