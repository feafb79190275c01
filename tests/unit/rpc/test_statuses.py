"""Errors on the wire: the right code, and what, why and next step within what gRPC carries."""

from __future__ import annotations

import grpc
import grpc.aio
import pytest
from codex_control.errors import ERROR_DOMAIN, CodexError, all_errors
from codex_control.v1 import admin_pb2
from codex_supervisor.rpc.statuses import sentence, status_code, trailing_metadata
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.rpc.conftest import Served

# gRPC's default bound on all metadata of one direction.
MAX_METADATA_BYTES = 8192
# Those of the API; others are made of more than words, and the table knows them by their class.
KINDS = [kind for kind in all_errors().values() if kind.__module__ == CodexError.__module__]


def details(error: CodexError) -> tuple[status_pb2.Status, error_details_pb2.ErrorInfo]:
    ((key, value),) = trailing_metadata(error)
    assert key == "grpc-status-details-bin"
    status = status_pb2.Status.FromString(value)
    info = error_details_pb2.ErrorInfo()
    (packed,) = status.details
    assert packed.Unpack(info)
    return status, info


def wire_bytes(error: CodexError) -> int:
    """What the error takes in the metadata at most: base64 for the details, three bytes for each escaped one."""
    ((key, value),) = trailing_metadata(error)
    escaped = sum(3 if byte < 0x20 or byte > 0x7E or byte == 0x25 else 1 for byte in sentence(error).encode())
    return len(key) + len(value) * 4 // 3 + 4 + len("grpc-message") + escaped + 3 * 32


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_has_a_code_and_its_reason(kind: type[CodexError]) -> None:
    error = kind(what="it broke", why="it was old", next_step="buy another")
    code = status_code(error)
    assert isinstance(code, grpc.StatusCode)
    assert code not in (grpc.StatusCode.OK, grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED)
    status, info = details(error)
    assert (status.code, status.message) == (code.value[0], str(error))
    assert (info.reason, info.domain) == (kind.reason, ERROR_DOMAIN)
    assert dict(info.metadata) == {"what": "it broke", "why": "it was old", "next": "buy another"}


def test_every_subclass_is_in_the_table() -> None:
    def below(kind: type[CodexError]) -> set[type[CodexError]]:
        return {kind}.union(*(below(sub) for sub in kind.__subclasses__()))

    for kind in below(CodexError):
        assert kind.status in grpc.StatusCode.__members__, kind
        assert kind.reason


texts = st.text(st.characters(codec="utf-8"), max_size=60).map(lambda text: text * 100)


@given(what=texts.filter(bool), why=texts, next_step=texts)
def test_what_is_said_fits_into_the_metadata(what: str, why: str, next_step: str) -> None:
    error = CodexError(what, why=why, next_step=next_step)
    assert wire_bytes(error) <= MAX_METADATA_BYTES
    status, info = details(error)
    assert status.message == sentence(error)
    for said, whole in ((info.metadata["what"], what), (info.metadata["why"], why), (info.metadata["next"], next_step)):
        assert whole.startswith(said)
        assert said == whole or len(said.encode()) > 500, "cut only where it must be"


@pytest.mark.parametrize("letter", ["x", "%", "\n", "ä", "中", "🦀"])
async def test_the_longest_error_arrives_whole(served: Served, letter: str) -> None:
    error = CodexError(letter * 20_000, why=letter * 20_000, next_step=letter * 20_000)

    async def version(_: object) -> None:
        raise error

    served.service.version = version  # type: ignore[assignment]
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await served.client.Version(admin_pb2.VersionRequest())
    assert raised.value.code() is grpc.StatusCode.INTERNAL
    assert raised.value.details() == sentence(error)
    status = rpc_status.from_call(raised.value)  # type: ignore[arg-type] # its types know no aio
    assert status == details(error)[0]


def test_the_name_of_a_file_that_is_no_text_can_be_told() -> None:
    _, info = details(CodexError("there is no file /w/\udcff.py"))
    assert info.metadata["what"] == "there is no file /w/?.py"
