"""One request as a zip, to look at elsewhere or to show to somebody: no secrets, but prompts where bodies were kept."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from codex_control.errors import UnsafePath
from codex_control.service.redaction import redact_value

from codex_gateway.record.rows import BodyRecord, RequestRecord

_README = """meta.json      the record of the request: who asked, every attempt with its reason, tokens, cost
request.json   what the client sent
attempt-N/     what was sent to the endpoint of attempt N, and what it answered
settings.json  the endpoint's and the taggers' settings at the time of the export

Keys and tokens are replaced by [redacted]. Bodies are there where they were recorded (records.bodies), and may be cut
(records.body_limit). They hold prompts and answers as they were.
"""


def write_zip(path: Path, record: RequestRecord, bodies: list[BodyRecord], settings: Mapping[str, Any]) -> list[str]:
    """Write the zip, 0600, and return the names in it. Raises `UnsafePath` where it exists or cannot be written."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileExistsError as error:
        raise UnsafePath(f"{path} exists already", next_step="name another file with --output") from error
    except OSError as error:
        raise UnsafePath(f"{path} cannot be written", why=error.strerror or str(error)) from error
    try:
        with os.fdopen(fd, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("README.txt", _README)
            meta = msgspec.to_builtins(record)
            meta["at"] = datetime.fromtimestamp(record.at_ns / 1e9, UTC).isoformat()
            archive.writestr("meta.json", _json(meta))
            archive.writestr("settings.json", _json(redact_value("", dict(settings))))
            for body in bodies:
                archive.writestr(_name(body), body.text)
            return archive.namelist()
    except OSError as error:
        path.unlink(missing_ok=True)
        raise UnsafePath(f"{path} cannot be written", why=error.strerror or str(error)) from error


def _name(body: BodyRecord) -> str:
    if body.side == "asked":
        return "request.json"
    if body.side == "sent":
        return f"attempt-{body.attempt}/request.json"
    # A stream's answer is events, not one JSON value.
    whole = body.text.lstrip()[:1] in ("{", "[")
    return f"attempt-{body.attempt}/answer.{'json' if whole else 'txt'}"


def _json(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2)
