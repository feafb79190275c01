"""What Codex warns of at each start of a child is told once."""

from __future__ import annotations

from pathlib import Path

from codex_control.v1 import admin_pb2, instances_pb2

from tests.support.codex_home import CodexHome
from tests.support.fake_codex.knobs import Knobs
from tests.support.fake_codex.place import FakeCodex
from tests.support.supervisor import ref, supervisor_of

WARNING = "Codex could not find bubblewrap on PATH."


async def test_a_warning_of_codex_is_told_once(
    codex_home: CodexHome, short_runtime_dir: Path, fake_codex: FakeCodex
) -> None:
    fake_codex.turn_knobs(Knobs(config_warning=WARNING))
    async with supervisor_of(
        codex_home, short_runtime_dir, {"codex": {"binary": str(fake_codex.binary)}}
    ) as supervisor:
        client = supervisor.client
        for name in ("one", "two"):
            request = instances_pb2.StartRequest(instance=ref(name), cwd=str(codex_home.workspace))
            await client.instances.Start(request, timeout=20)
        await client.instances.Restart(instances_pb2.RestartRequest(instance=ref("one")), timeout=20)
        assert fake_codex.starts == 3
        checks = (await client.admin.Doctor(admin_pb2.DoctorRequest(), timeout=30)).checks
        told = [check for check in checks if check.found == WARNING]
        assert [check.status for check in told] == [admin_pb2.CHECK_STATUS_WARNING]
        assert supervisor.log().count("codex_warns") == 1
