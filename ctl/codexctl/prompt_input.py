"""Reads and checks what a command sends, before anything is sent."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from codex_control.errors import BadInput

# Codex takes 1,048,576 characters (its `input_too_large`), of at most 4 bytes each; the service's own limit is lower
# or equal and is reported by it.
MAX_STDIN_BYTES = 4 * 1_048_576


def read_text(given: str | None, *, what: str = "prompt") -> str:
    """The text: `given`, or standard input where that is `-`, or missing and no terminal.

    Raises `BadInput` for text that is missing, empty, too long, no UTF-8, or binary.
    """
    if given is None and sys.stdin.isatty():
        raise BadInput(f"the {what} is missing", next_step=f"give it as an argument, or - and the {what} on stdin")
    text = _from_stdin(what) if given is None or given == "-" else given
    if not text.strip():
        raise BadInput(f"the {what} is empty", next_step="give some text")
    if "\0" in text:
        raise BadInput(f"the {what} is binary data", why="it holds a NUL byte", next_step="give text in UTF-8")
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        # How Python hands over bytes of the command line that are no UTF-8 (PEP 383).
        raise BadInput(f"the {what} is not UTF-8", next_step="convert it, for example with iconv -t UTF-8")
    return text


def _from_stdin(what: str) -> str:
    data = sys.stdin.buffer.read(MAX_STDIN_BYTES + 1)
    if len(data) > MAX_STDIN_BYTES:
        raise BadInput(
            f"the {what} on stdin is too long",
            why=f"it has more than {MAX_STDIN_BYTES} bytes",
            next_step="write it to a file in the workspace and ask Codex to read that",
        )
    if b"\0" in data:
        raise BadInput(f"the {what} is binary data", why="it holds a NUL byte", next_step="give text in UTF-8")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BadInput(
            f"the {what} is not UTF-8",
            why=f"byte {error.start} is 0x{data[error.start]:02x}",
            next_step="convert it, for example with iconv -t UTF-8",
        ) from error


def checked_images(paths: Iterable[str]) -> list[str]:
    """Absolute paths of images; raises `BadInput` for one that is no readable file or empty."""
    checked = []
    for path in paths:
        image = Path(path).expanduser().absolute()
        if not image.is_file():
            why = "it is no regular file" if image.exists() else "there is no such file"
            raise BadInput(f"the image {path} cannot be sent", why=why, next_step="give the path of an image file")
        if not os.access(image, os.R_OK) or image.stat().st_size == 0:
            why = "it is not readable" if image.stat().st_size else "it is empty"
            raise BadInput(f"the image {path} cannot be sent", why=why, next_step="give the path of an image file")
        checked.append(str(image))
    return checked


def checked_directory(path: str | None) -> str:
    """Absolute path of a directory, empty for None; raises `BadInput` for what is none."""
    if path is None:
        return ""
    directory = Path(path).expanduser().absolute()
    if not directory.is_dir():
        why = "it is not a directory" if directory.exists() else "there is no such directory"
        raise BadInput(f"the working directory {path} cannot be used", why=why, next_step="give an existing directory")
    return os.path.normpath(directory)


def absolute_directory(path: str | None) -> str:
    """Absolute path of a directory, the git root of the present one for None; whoever uses it looks whether it exists.

    Raises `BadInput` where the present one is gone.
    """
    from codexctl.instance_ref import git_root, working_directory

    here = working_directory()
    return os.path.normpath(here / Path(path).expanduser()) if path is not None else str(git_root(here))


def checked_schema(path: str | None) -> str:
    """Text of a JSON Schema file, empty for None; raises `BadInput` for what is no JSON object."""
    if path is None:
        return ""
    import json

    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(
            f"the schema {path} cannot be read", why=error.strerror or "", next_step="give the path of a JSON Schema"
        ) from error
    except UnicodeDecodeError as error:
        raise BadInput(f"the schema {path} is not UTF-8", next_step="convert it to UTF-8") from error
    try:
        schema = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadInput(
            f"the schema {path} is no JSON",
            why=f"{error.msg} at line {error.lineno}, column {error.colno}",
            next_step="correct that place",
        ) from error
    if not isinstance(schema, dict):
        raise BadInput(
            f"the schema {path} is no JSON Schema", why="it is not an object", next_step='begin with {"type": "object"'
        )
    return text


def check_request_id(request_id: str | None) -> None:
    """Raise `BadInput` for a request id that the service would refuse."""
    if request_id is not None and not (1 <= len(request_id) <= 128 and request_id.isprintable()):
        raise BadInput("the request id is wrong", why="it has 1 to 128 printable characters", next_step="shorten it")
