"""Links of the documentation that lead nowhere are found, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.check_links import anchors_of, broken_links, links_of

OTHER = """# The `codexctl` page

## Which instance?

## Which instance?

## Ünïcode & more_words
<a id="by-hand"></a>
"""


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    """A repository with one page in docs/."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "other.md").write_text(OTHER, encoding="utf-8")
    (tmp_path / "LICENSE").write_text("free")
    return tmp_path


def broken(root: Path, text: str) -> list[str]:
    page = root / "README.md"
    page.write_text(text, encoding="utf-8")
    return list(broken_links(root, [page]))


def test_headings_have_githubs_anchors() -> None:
    assert anchors_of(OTHER) == {
        "the-codexctl-page",
        "which-instance",
        "which-instance-1",
        "ünïcode--more_words",
        "by-hand",
    }


def test_links_are_found_in_tables_and_images_and_not_in_code() -> None:
    table = "| a | b |\n| --- | --- |\n| [x](one.md) | `[y](two.md)` |\n"
    text = f"# T\n\n{table}\n![z](three.png)\n\n```\n[c](four.md)\n```\n"
    assert [target for _, target in links_of(text)] == ["one.md", "three.png"]


@pytest.mark.parametrize(
    "link",
    [
        "docs/other.md",
        "docs/other.md#which-instance-1",
        "docs/other.md#by-hand",
        "docs",
        "LICENSE",
        "#here",
        "https://example.org/x#y",
        "mailto:a@example.org",
    ],
)
def test_what_leads_somewhere(pages: Path, link: str) -> None:
    assert broken(pages, f"# Here\n\n[text]({link})\n") == []


@pytest.mark.parametrize(
    ("link", "wrong"),
    [
        ("docs/gone.md", "there is no such file"),
        ("docs/other.md#which-instance-2", "there is no such heading"),
        ("#there", "there is no such heading"),
        ("../outside.md", "it leads out of the repository"),
    ],
)
def test_what_leads_nowhere(pages: Path, link: str, wrong: str) -> None:
    assert broken(pages, f"# Here\n\ntext\n[text]({link})\n") == [f"README.md:3: {link}: {wrong}"]
