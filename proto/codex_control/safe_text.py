"""Makes text from models, commands and errors safe to write to a terminal, and short enough for a line."""

from __future__ import annotations

import re

# ECMA-48: control sequences (CSI), strings (OSC, DCS, SOS, PM, APC) and two-character escapes, 7-bit and 8-bit forms.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-~]"
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# Unicode's bidirectional controls can make a command look like another one (CVE-2021-42574).
_HIDDEN = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def strip_controls(text: str) -> str:
    """`text` without escape sequences and control characters; newlines and tabs stay."""
    if text.isprintable():
        return text
    return _CONTROLS.sub("", _ESCAPES.sub("", text.replace("\r\n", "\n")))


def make_visible(text: str) -> str:
    """`text` with every control and hidden character written out, for what a person is asked to allow."""
    return _HIDDEN.sub(lambda match: match.group().encode("unicode_escape").decode(), text)


def one_line(text: str, width: int = 200) -> str:
    """`text` stripped of controls, on one line, cut to `width` characters."""
    line = " ".join(strip_controls(text).split())
    return line if len(line) <= width else line[: width - 1] + "…"


def duration_text(seconds: float) -> str:
    """A duration for people: 0.4 s, 12 s, 3 min 5 s, 2 h 5 min, 4 d 1 h; whole seconds where it is given in such."""
    if seconds < 10 and isinstance(seconds, float):
        return f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def bytes_text(size: int) -> str:
    """A size in MiB for people; `-` where it is not known (0)."""
    return f"{size / 2**20:.0f} MiB" if size else "-"
