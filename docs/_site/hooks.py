"""What the site makes from the code: the order of its pages, component pages, pictures."""

import re
from pathlib import Path
from typing import Any, Final

from component_pages import component_pages
from evidence import evidence_pictures
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pictures import preview_pictures
from reference_pages import reference_pages

ROOMS: Final = {
    "Tutorials": "tutorials",
    "How to": "how-to",
    "Recipes": "recipes",
    "Explanation": "explanation",
    "Reference": "reference",
}
"""Headings of the navigation and the folders of their pages."""

SITE_ONLY: Final = re.compile(r"<!-- site:\s(.*?)\s-->", re.DOTALL)
"""Markdown that leads to what is made here, and nowhere in the repository."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List every page there is, each room's index first, so that none can be forgotten."""
    docs = Path(config.docs_dir)
    nav: list[str | dict[str, object]] = [{"Start": "index.md"}]
    for heading, room in ROOMS.items():
        written = [page.relative_to(docs).as_posix() for page in (docs / room).glob("*.md")]
        made = [address for address in reference_pages() if address.startswith(f"{room}/")]
        listed: list[object] = sorted(
            [*written, *made], key=lambda address: (not address.endswith("/index.md"), address)
        )
        if room == "reference":
            listed.append({"Components": sorted(component_pages())})
        if listed:
            nav.append({heading: listed})
    nav.append({"Results": "results.md"})
    config.nav = nav
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and pictures that are made from the code."""
    made: dict[str, str | bytes] = {
        **component_pages(),
        **reference_pages(),
        **preview_pictures(),
        **evidence_pictures(),
    }
    for address, content in made.items():
        files.append(File.generated(config, address, content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Show what stands in a page for the site alone: pictures, and links to pages made here."""
    return SITE_ONLY.sub(r"\1", markdown)
