"""Checks that the relative links of README and docs/ lead to files, and their anchors to headings, that there are.

Run it as `python -m scripts.check_links`. Links to other hosts are not followed: a check must not need a network.
"""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("*.md", "docs/**/*.md", "deploy/**/*.md", "packaging/**/*.md")
_HTML_ANCHOR = re.compile(r"""<a\s[^>]*\b(?:id|name)=["']([^"']+)["']""")


def main() -> int:
    """Return the exit code."""
    pages = sorted({page for pattern in PAGES for page in ROOT.glob(pattern)})
    broken = list(broken_links(ROOT, pages))
    for line in broken:
        print(line, file=sys.stderr)
    return 1 if broken else 0


def broken_links(root: Path, pages: Sequence[Path]) -> Iterator[str]:
    """Yield `page:line: link: what is wrong` for each relative link that leads nowhere, or out of `root`."""
    for page in pages:
        for line, link in links_of(page.read_text(encoding="utf-8")):
            wrong = _what_is_wrong(root, page, link)
            if wrong:
                yield f"{page.relative_to(root)}:{line}: {link}: {wrong}"


def links_of(text: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the target of each link and image."""
    for token in MarkdownIt().enable("table").parse(text):
        for part in token.children or ():
            target = part.attrGet("href") or part.attrGet("src")
            if target:
                yield (token.map or [0])[0] + 1, str(target)


def anchors_of(text: str) -> set[str]:
    """Return the anchors that GitHub gives a page's headings, and those that it sets itself."""
    found: dict[str, int] = {}
    anchors = set(_HTML_ANCHOR.findall(text))
    tokens = MarkdownIt().enable("table").parse(text)
    for token, inline in itertools.pairwise(tokens):
        if token.type == "heading_open":
            slug = _slug(inline)
            count = found[slug] = found.get(slug, -1) + 1
            anchors.add(f"{slug}-{count}" if count else slug)
    return anchors


def _slug(heading: Token) -> str:
    said = "".join(part.content for part in heading.children or ())
    # Letters, digits, hyphens and underscores stay, of whatever script; a blank becomes a hyphen.
    return re.sub(r"[^\w\- ]", "", said.strip().lower()).replace(" ", "-")


def _what_is_wrong(root: Path, page: Path, link: str) -> str:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return ""
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not target.is_relative_to(root):
        return "it leads out of the repository"
    if not target.exists():
        return "there is no such file"
    if not parts.fragment or target.suffix != ".md":
        return ""
    known = anchors_of(target.read_text(encoding="utf-8"))
    return "" if unquote(parts.fragment) in known else "there is no such heading"


if __name__ == "__main__":
    sys.exit(main())
