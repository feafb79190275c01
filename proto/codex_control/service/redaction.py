"""Takes secrets out of what is logged. The last line of defence: code should not log them in the first place."""

from __future__ import annotations

import re
from typing import Any

REDACTED = "[redacted]"

# Names of fields, headers and variables whose text is a secret. `tokens` (a count) is none.
_SECRET_NAME = re.compile(
    r"(?:^|[_.-])(?:token|secret|password|passwd|passphrase|authorization|cookie|credentials?|(?:api|access|private)_?key)$",
    re.IGNORECASE,
)
_SECRETS = (
    # OpenAI and Anthropic keys; GitHub, GitLab and Slack tokens; AWS key ids; JSON Web Tokens.
    re.compile(r"\bsk-[A-Za-z0-9_-]{8,}"),
    re.compile(r"\b(?:gh[pousr]_|github_pat_|glpat-|xox[abprs]-)[A-Za-z0-9_-]{8,}"),
    re.compile(r"\bAKIA[0-9A-Z]{16}\b"),
    re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?"),
    # scheme://user:password@host
    re.compile(r"(?<=://)[^\s/:@]{1,256}:[^\s/@]{1,256}(?=@)"),
)
_AFTER = (
    re.compile(r"\b((?:Bearer|Basic)\s+)[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE),
    # API_KEY=…, "password": "…", Authorization: …
    re.compile(
        r"((?:token|secret|password|passwd|passphrase|cookie|(?:api|access|private)[_-]?key)\b[\"']?\s{0,4}[=:]\s{0,4}[\"']?)"
        r"(?!\[redacted\])[^\s\"',;&]{4,}",
        re.IGNORECASE,
    ),
)
# One look for what every pattern above needs: nearly all that is logged has none of it.
_SIGN = re.compile(
    r"sk-|gh[pousr]_|github_pat_|glpat-|xox[abprs]-|AKIA|eyJ|://|bearer|basic|token|secret|passw|passphrase|cookie|key",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """Return `text` with everything that looks like a key or a token replaced."""
    if not _SIGN.search(text):
        return text
    for pattern in _SECRETS:
        text = pattern.sub(REDACTED, text)
    for pattern in _AFTER:
        text = pattern.sub(rf"\1{REDACTED}", text)
    return text


def redact_value(name: str, value: Any) -> Any:
    """Return a field's value for the log: whole numbers and the like as they are, text without secrets."""
    if isinstance(value, bool | int | float) or value is None:
        return value
    if _SECRET_NAME.search(name):
        return REDACTED
    if isinstance(value, dict):
        return {str(key): redact_value(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact_value("", inner) for inner in value]
    return redact(str(value))
