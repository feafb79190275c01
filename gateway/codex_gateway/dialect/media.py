"""Images and documents from one dialect into another. Base64 never becomes text of the conversation."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from typing import TYPE_CHECKING

from codex_control.errors import BadInput

if TYPE_CHECKING:
    from codex_gateway.dialect.neutral import File, JsonObject

_TEXT_TYPES = ("text/", "application/json", "application/xml", "application/yaml", "application/x-yaml")


def data_url(media_type: str, data: str) -> str:
    """A `data:` URL of base64."""
    return f"data:{media_type};base64,{data}"


def text_of_file(file: File) -> str | None:
    """A text document as text, with its name; None where it is no text."""
    text = file.text
    if text is None and file.data is not None and file.media_type.startswith(_TEXT_TYPES):
        try:
            text = b64decode(file.data, validate=False).decode("utf-8", "replace")
        except (Base64Error, ValueError):
            raise BadInput("a document's data", why="it is not base64") from None
    if text is None:
        return None
    head = "\n".join(filter(None, [file.name, file.context]))
    return f"{head}\n\n{text}" if head else text


def chat_file(file: File) -> JsonObject:
    """Chat's file part."""
    if file.file_id:
        return {"type": "file", "file": {"file_id": file.file_id}}
    if file.url:
        # Chat has no place for a document's address; the model may have a tool that reads it.
        return {"type": "text", "text": f"[The document {file.name or ''} is at {file.url}]".replace("  ", " ")}
    name = file.name or "document.pdf"
    return {"type": "file", "file": {"filename": name, "file_data": data_url(file.media_type, file.data or "")}}


def responses_file(file: File) -> JsonObject:
    """Responses' file part."""
    if file.file_id:
        return {"type": "input_file", "file_id": file.file_id}
    if file.url:
        return {"type": "input_file", "file_url": file.url}
    name = file.name or "document.pdf"
    return {"type": "input_file", "filename": name, "file_data": data_url(file.media_type, file.data or "")}
