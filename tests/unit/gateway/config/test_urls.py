"""Where base URLs and paths meet, with the URLs that makers really give."""

from __future__ import annotations

import pytest
from codex_gateway.config.urls import COUNT_TOKENS, MODELS, PATHS, dialect_of_full_url, request_url
from codex_gateway.dialect.neutral import Dialect

MESSAGES, CHAT, RESPONSES = PATHS[Dialect.MESSAGES], PATHS[Dialect.CHAT], PATHS[Dialect.RESPONSES]


@pytest.mark.parametrize(
    ("url", "path", "whole"),
    [
        ("https://api.anthropic.com", MESSAGES, "https://api.anthropic.com/v1/messages"),
        ("https://api.anthropic.com/", COUNT_TOKENS, "https://api.anthropic.com/v1/messages/count_tokens"),
        ("https://api.deepseek.com/anthropic", MESSAGES, "https://api.deepseek.com/anthropic/v1/messages"),
        ("https://api.openai.com/v1", RESPONSES, "https://api.openai.com/v1/responses"),
        ("https://openrouter.ai/api/v1/", CHAT, "https://openrouter.ai/api/v1/chat/completions"),
        ("https://api.groq.com/openai/v1", MODELS, "https://api.groq.com/openai/v1/models"),
        ("https://open.bigmodel.cn/api/paas/v4", CHAT, "https://open.bigmodel.cn/api/paas/v4/chat/completions"),
        (
            "https://generativelanguage.googleapis.com/v1beta/openai/",
            CHAT,
            "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions",
        ),
        (
            "https://x.openai.azure.com/openai/v1?api-version=preview",
            RESPONSES,
            "https://x.openai.azure.com/openai/v1/responses?api-version=preview",
        ),
        ("http://localhost:11434", CHAT, "http://localhost:11434/v1/chat/completions"),
        ("https://h/odd/path/chat/completions", CHAT, "https://h/odd/path/chat/completions"),
        ("https://h/odd/path/messages", COUNT_TOKENS, "https://h/odd/path/messages/count_tokens"),
    ],
)
def test_urls_meet_paths(url: str, path: str, whole: str) -> None:
    assert request_url(url, path) == whole


def test_full_urls_are_known() -> None:
    assert dialect_of_full_url("https://h/v1/responses") is Dialect.RESPONSES
    assert dialect_of_full_url("https://h/v1") is None
