"""Client tokens: who may use the gateway, as what, and how much.

Loopback is open to every user of the machine, so every request shows a token. The list of tokens (`tokens.json`) holds
their SHA-256 alone; a token is 256 random bits, which no hash has to be slow for. The text of a token that the gateway
made for a client by itself lies beside it in a 0600 file (`claude-code.token`), because `setup` has to write it into
the client's settings, where it lies just as open to the same user. A token that a person asks for is shown once and
kept nowhere.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from codex_control.errors import BadInput, NotFound, UnsafePath, WrongState
from codex_control.paths import check_private_dir, make_private_dir
from codex_control.service.clock import Clock
from codex_control.service.own_file import write_whole

from codex_gateway.config.endpoint import ClientKind
from codex_gateway.one_writer import one_writer

PREFIX = "sk-cgw-"
"""What a token begins with. `sk-` makes every redaction know it, ours and other programs'."""
_RANDOM_BYTES = 32
_MAX_NAME = 64
_MAX_FILE_BYTES = 4 << 20


class Role(enum.StrEnum):
    """What a token is for."""

    CLIENT = "client"
    """Model requests alone."""
    VIEWER = "viewer"
    """Reading metrics and records."""
    ADMIN = "admin"
    """All of it."""


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """One token, without its text. 0 as a limit means the default of the configuration."""

    name: str
    role: Role
    sha256: str
    client: ClientKind = ClientKind.OTHER
    """Who it was made for: the kind of a request whose headers don't tell."""
    created_ns: int = 0
    revoked_ns: int = 0
    requests_per_minute: int = 0
    tokens_per_day: int = 0
    concurrent: int = 0

    def __repr__(self) -> str:
        return f"Token({self.name!r} {self.role}{' revoked' if self.revoked_ns else ''})"

    def may(self, role: Role) -> bool:
        """Whether what demands `role` is open to it."""
        return self.role is Role.ADMIN or self.role is role


class _File(msgspec.Struct, kw_only=True):
    tokens: tuple[Token, ...] = ()


FIRST_TOKENS = (
    ("claude-code", Role.CLIENT, ClientKind.CLAUDE_CODE),
    ("codex", Role.CLIENT, ClientKind.CODEX),
    ("other", Role.CLIENT, ClientKind.OTHER),
    ("metrics", Role.VIEWER, ClientKind.OTHER),
    ("admin", Role.ADMIN, ClientKind.OTHER),
)
"""Made at the first start: name, role, and whom for."""


class Tokens:
    """The tokens of one gateway, as its directory has them."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        self._by_digest: dict[bytes, Token] = {}
        self._stamp: tuple[int, int, int] | None = None
        self._all: tuple[Token, ...] = ()

    def __repr__(self) -> str:
        return f"<Tokens {len(self._by_digest)} in force of {len(self._all)}>"

    @property
    def file(self) -> Path:
        """The list."""
        return self._directory / "tokens.json"

    def open(self) -> None:
        """Read the list; make the first tokens where there is none yet. Raises `UnsafePath`."""
        make_private_dir(self._directory)
        with self._changing(first=True):
            if self.file.exists():
                return
            # At once: a start that fails half way leaves no list that lacks some for ever.
            made = [self._make(name, role, client=client, keep_text=True) for name, role, client in FIRST_TOKENS]
            self._write(token for _, token in made)

    def reload(self) -> bool:
        """Read the list again where it changed; return whether it did. Raises `UnsafePath`, and keeps what it had."""
        try:
            check_private_dir(self._directory)
            with self.file.open("rb") as opened:
                status = os.fstat(opened.fileno())
                stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
                if stamp == self._stamp:
                    return False
                if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
                    raise UnsafePath(
                        f"{self.file} is open to other users",
                        why=f"its mode is {stat.S_IMODE(status.st_mode):04o}",
                        next_step=f"run `chmod 600 {self.file}`",
                    )
                self._take(msgspec.json.decode(opened.read(_MAX_FILE_BYTES), type=_File).tokens)
        except (OSError, ValueError) as error:  # what msgspec and bytes.fromhex raise are ValueErrors
            raise UnsafePath(
                f"{self.file} cannot be read", why=str(error), next_step="move it away, and new tokens will be made"
            ) from error
        self._stamp = stamp
        return True

    def all(self) -> tuple[Token, ...]:
        """Every token, revoked ones too, oldest first."""
        return self._all

    def check(self, text: str) -> Token | None:
        """The token whose text this is, None where there is none in force."""
        digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
        found = self._by_digest.get(digest)
        # What the dictionary's look-up lets a clock tell is about a hash of 256 secret bits, which helps nobody; the
        # comparison proper takes the same time wherever they differ.
        if found is None or not hmac.compare_digest(bytes.fromhex(found.sha256), digest):
            return None
        return found

    def text_of(self, name: str) -> str:
        """The text of a token that the gateway made by itself. Raises `NotFound`."""
        try:
            return self._text_file(name).read_text().strip()
        except (OSError, ValueError) as error:
            raise NotFound(
                f"the text of the token {name} is not kept here",
                why="only tokens that the gateway made for its clients are, and no revoked ones",
                next_step="`codex-gateway tokens add` makes a new one",
            ) from error

    def add(
        self,
        name: str,
        role: Role,
        *,
        client: ClientKind = ClientKind.OTHER,
        keep_text: bool = False,
        requests_per_minute: int = 0,
        tokens_per_day: int = 0,
        concurrent: int = 0,
    ) -> str:
        """Make a token and return its text. Raises `BadInput`, or `WrongState` where the name is in use."""
        with self._changing():
            text, token = self._make(
                name,
                role,
                client=client,
                keep_text=keep_text,
                requests_per_minute=requests_per_minute,
                tokens_per_day=tokens_per_day,
                concurrent=concurrent,
            )
            self._write((*self._all, token))
        return text

    def _make(self, name: str, role: Role, *, client: ClientKind, keep_text: bool, **limits: int) -> tuple[str, Token]:
        """A token's text, and the token; it is not in the list yet."""
        if not name or len(name) > _MAX_NAME or not all(c.isalnum() or c in "-_." for c in name) or name[0] == ".":
            raise BadInput(
                f"{name[:_MAX_NAME]!r} is no name for a token",
                why=f"it has letters, digits, `-`, `_` and `.`, at most {_MAX_NAME}",
            )
        if any(token.name == name and not token.revoked_ns for token in self._all):
            raise WrongState(f"there is a token {name} already", next_step="revoke it first, or take another name")
        text = PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
        token = Token(
            name=name,
            role=role,
            sha256=hashlib.sha256(text.encode()).hexdigest(),
            client=client,
            created_ns=self._clock.wall_ns(),
            **limits,
        )
        if keep_text:
            write_whole(self._text_file(name), text + "\n", 0o600)
        return text, token

    def revoke(self, name: str) -> None:
        """Let a token mean nothing from now on. Raises `NotFound`."""
        with self._changing():
            self._revoke(name)

    def _revoke(self, name: str) -> None:
        if not any(token.name == name and not token.revoked_ns for token in self._all):
            raise NotFound(f"there is no token {name}", next_step="`codex-gateway tokens` lists them")
        now = self._clock.wall_ns()
        self._write(
            msgspec.structs.replace(token, revoked_ns=now) if token.name == name and not token.revoked_ns else token
            for token in self._all
        )
        self._text_file(name).unlink(missing_ok=True)

    @contextmanager
    def _changing(self, *, first: bool = False) -> Iterator[None]:
        """Change the list as it is now, with no other writer beside."""
        try:
            with one_writer(self._directory):
                if not first or self.file.exists():
                    self.reload()
                yield
        except OSError as error:
            raise UnsafePath(
                f"the tokens in {self._directory} cannot be changed",
                why=error.strerror or str(error),
                next_step="make it writable, and see that its disk is not full",
            ) from error

    def _text_file(self, name: str) -> Path:
        return self._directory / f"{name}.token"

    def _write(self, tokens: Iterable[Token]) -> None:
        kept = tuple(tokens)
        write_whole(self.file, msgspec.json.format(msgspec.json.encode(_File(tokens=kept))).decode() + "\n", 0o600)
        self._take(kept)
        status = self.file.stat()
        self._stamp = (status.st_ino, status.st_mtime_ns, status.st_size)

    def _take(self, tokens: tuple[Token, ...]) -> None:
        self._by_digest = {bytes.fromhex(token.sha256): token for token in tokens if not token.revoked_ns}
        self._all = tokens
