"""Every link in the README and the documentation leads somewhere, also in the files themselves.

What exists only in the site that `make docs` builds stands in a comment, `<!-- site: ... -->`,
which the site's hook takes for text, and whose links `mkdocs build --strict` checks.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from markdown.extensions.toc import slugify

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = [
    *ROOT.glob("*.md"),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted(ROOT.glob("plugins/*/README.md")),
]
BLOCK: Final = re.compile(r"^```.*?^```$|<!--.*?-->", re.DOTALL | re.MULTILINE)
LINK: Final = re.compile(r"\]\(([^)\s]+)\)")
HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def links_of(page: Path) -> Iterator[tuple[str, str]]:
    """Yield the path and the section of each link that leads to no other server."""
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for address in LINK.findall(re.sub(r"`[^`]*`", "", text)):
        if "://" not in address and not address.startswith("mailto:"):
            path, _, section = address.partition("#")
            yield path, section


def sections_of(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.M)
    return {slugify(re.sub(r"[`*]", "", title), "-") for title in HEADING.findall(text)}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_file_of_the_repository(page: Path) -> None:
    for path, section in links_of(page):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name_of(page)} links to {path}, which is not there"
        assert target.is_relative_to(ROOT), f"{name_of(page)} links to {path}, outside of it"
        if section and target.suffix == ".md":
            assert section in sections_of(target), f"{name_of(page)}: {path} has no #{section}"


def test_there_are_links_to_look_at() -> None:
    assert len([link for page in PAGES for link in links_of(page)]) > 50
