"""A client's settings file: changed with a backup, and given back as it was.

The backup is written before the file, so that whatever happens in between can be undone. It holds the token, as the
file does: both are 0600.
"""

from __future__ import annotations

import contextlib
import hashlib
import stat
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from codex_control.errors import BadConfig, NotFound
from codex_control.paths import make_private_dir
from codex_control.service.own_file import write_whole

from codex_gateway.setup.changes import Change, put, take_out
from codex_gateway.setup.clients import Client, Wanted

MAX_FILE_BYTES = 4 << 20


class Kept(msgspec.Struct, kw_only=True):
    """What is remembered of a file that was changed."""

    path: str
    before: str | None
    """Its text; None where there was no file."""
    before_mode: int
    after_sha256: str
    changes: tuple[Change, ...]
    made: tuple[str, ...] = ()
    """Directories that were made for it, the innermost first."""


@dataclass(frozen=True)
class Edit:
    """What is to be written."""

    text: str
    now: str | None
    kept: Kept

    @property
    def changes_nothing(self) -> bool:
        """The file says it already."""
        return self.now == self.text


class SettingsFile:
    """The settings file of one client, and its backup in `backup_dir`."""

    def __init__(self, client: Client, path: Path, backup_dir: Path) -> None:
        self.client = client
        self.path = path
        # One for each file: CODEX_HOME and CLAUDE_CONFIG_DIR lead to others.
        place = hashlib.sha256(str(path).encode()).hexdigest()[:16]
        self._backup_dir = backup_dir
        self._backup = backup_dir / f"{client.kind}-{place}.json"

    def __repr__(self) -> str:
        return f"SettingsFile({self.path})"

    def read(self) -> str | None:
        """The text; None where there is no file. Raises `BadConfig`."""
        try:
            with self.path.open("rb") as opened:
                data = opened.read(MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unreadable(error.strerror or str(error)) from error
        if len(data) > MAX_FILE_BYTES:
            raise self._unreadable(f"it is longer than {MAX_FILE_BYTES >> 20} MiB")
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._unreadable(f"it is not UTF-8: {error}") from error

    def edit(self, wanted: Wanted) -> Edit:
        """Work out the new text; nothing is written. Raises `BadConfig`."""
        now, kept = self.read(), self._kept()
        base, mode = now, self._mode()
        if kept is not None:
            mode = kept.before_mode
            if now is not None and _sha256(now) == kept.after_sha256:
                base = kept.before
            elif now is not None:
                base = self._without(now, kept)[0]
        settings = self._parse(base or "")
        try:
            changes = put(settings, wanted)
        except TypeError as error:
            raise self._unreadable(str(error)) from error
        text = self.client.write(settings, base or "")
        expected = self.client.read_back(base or "")
        put(expected, wanted)
        if self.client.read_back(text) != expected:
            raise BadConfig(
                f"{self.path} is written in a way that cannot be changed here without losing something",
                next_step=f"put the lines of `codex-gateway setup {self.client.kind} --print` there by hand",
            )
        if kept is not None:
            made = kept.made
        else:
            made = tuple(str(directory) for directory in self.path.parents if not directory.exists())
        remembered = Kept(
            path=str(self.path),
            before=base,
            before_mode=mode,
            after_sha256=_sha256(text),
            changes=tuple(changes),
            made=made,
        )
        return Edit(text, now, remembered)

    def write(self, edit: Edit) -> None:
        """Write the backup, then the file. Raises `BadConfig`."""
        make_private_dir(self._backup_dir)
        self._write(msgspec.json.encode(edit.kept).decode(), 0o600, self._backup)
        self._write(edit.text, 0o600)

    def undo(self) -> str:
        """Give the file back as it was, and say what was done. Raises `NotFound` where nothing was set up."""
        kept = self._kept()
        if kept is None:
            raise NotFound(
                f"`codex-gateway setup {self.client.kind}` has not changed {self.path}",
                next_step="look at the file: whatever leads to a gateway there was written by somebody else",
            )
        now = self.read()
        if now is None:
            said = f"{self.path} is gone: there is nothing to undo"
        elif _sha256(now) == kept.after_sha256:
            self._give_back(kept)
            said = f"{self.path} is as it was"
        else:
            text, ours = self._without(now, kept)
            if not ours:
                said = f"{self.path} was changed since, and nothing of the gateway is left in it"
            elif self.client.read_back(text) == self.client.read_back(kept.before or ""):
                self._give_back(kept)
                said = f"{self.path} is as it was"
            else:
                self._write(text, stat.S_IMODE(self.path.stat().st_mode))
                said = f"{self.path} was changed since: the gateway's part was taken out, the rest is left as it is"
        if not self.path.exists():
            # Only as long as they are empty.
            with contextlib.suppress(OSError):
                for directory in kept.made:
                    Path(directory).rmdir()
        self._backup.unlink(missing_ok=True)
        return said

    def _give_back(self, kept: Kept) -> None:
        if kept.before is None:
            self.path.unlink(missing_ok=True)
        else:
            self._write(kept.before, kept.before_mode)

    def _without(self, text: str, kept: Kept) -> tuple[str, bool]:
        settings = self._parse(text)
        if not take_out(settings, kept.changes):
            return text, False
        return self.client.write(settings, text), True

    def _parse(self, text: str) -> MutableMapping[str, Any]:
        try:
            self.client.read_back(text)
            return self.client.parse(text)
        except ValueError as error:
            raise self._unreadable(str(error)) from error

    def _kept(self) -> Kept | None:
        try:
            return msgspec.json.decode(self._backup.read_bytes(), type=Kept)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            raise BadConfig(
                f"the backup {self._backup} cannot be read", why=str(error), next_step="move it away"
            ) from error

    def _mode(self) -> int:
        try:
            return stat.S_IMODE(self.path.stat().st_mode)
        except OSError:
            return 0o600

    def _write(self, text: str, mode: int, path: Path | None = None) -> None:
        path = path or self.path
        try:
            write_whole(path, text, mode)
        except OSError as error:
            raise BadConfig(
                f"{path} cannot be written",
                why=error.strerror or str(error),
                next_step=f"put the lines of `codex-gateway setup {self.client.kind} --print` where they belong",
            ) from error

    def _unreadable(self, why: str) -> BadConfig:
        return BadConfig(f"{self.path} cannot be changed", why=why, next_step="put it right first; nothing was written")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
