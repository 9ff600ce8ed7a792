"""The documentation site builds from the code as it is, with no link that leads nowhere.

Building it takes a minute, so all but one of these tests are long ones.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ssl_registry
from ssl_registry import registry

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        check=False, capture_output=True, text=True, cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return folder


@pytest.mark.long
def test_every_page_is_in_the_navigation(site: Path) -> None:
    start = (site / "index.html").read_text(encoding="utf-8")
    docs = ROOT / "docs"
    for page in docs.rglob("*.md"):
        address = page.relative_to(docs).with_suffix("").as_posix()
        shown = address.removesuffix("index").removesuffix("/")
        assert f'href="{shown}/"' in start or shown == "", address


def test_every_guide_can_be_found_from_the_first_page() -> None:
    first = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    guides = [guide.relative_to(ROOT / "docs") for guide in (ROOT / "docs").glob("how-to/*.md")]
    assert [guide for guide in guides if f"({guide.as_posix()})" not in first] == []


@pytest.mark.long
@pytest.mark.parametrize("entry", registry.entries(), ids=lambda entry: entry.name)
def test_every_component_of_this_project_has_a_page_with_its_fields(
    site: Path, entry: object
) -> None:
    from ssl_registry import Entry

    assert isinstance(entry, Entry)
    if entry.distribution != "ssl-registry" and not entry.distribution.startswith("ssl-registry-"):
        pytest.skip("somebody else's component")
    page = (site / "reference" / "components" / entry.name / "index.html").read_text("utf-8")
    for field, info in registry.get(entry.name).model_fields.items():
        assert f"<code>{field}</code>" in page
        assert info.description


@pytest.mark.long
def test_every_public_name_is_in_the_reference(site: Path) -> None:
    """`hookimpl` is explained with the hooks, and `registry` with its class."""
    page = (site / "reference" / "python" / "index.html").read_text(encoding="utf-8")
    homes = {name: home for name, home in ssl_registry._HOMES.items() if name != "hookimpl"}
    assert [
        name for name, home in homes.items() if f'"ssl_registry.{home}.{name}"' not in page
    ] == []
    modules = set(ssl_registry.__all__) - set(ssl_registry._HOMES) - {"__version__"}
    assert [name for name in modules if f'"ssl_registry.{name}.' not in page] == []


@pytest.mark.long
def test_pictures_are_there_and_say_what_they_show(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        for address in re.findall(r'<img[^>]* src="([^":]+\.png)"', text):
            assert (page.parent / address).resolve().is_file(), f"{page}: {address}"


@pytest.mark.long
def test_the_site_asks_nobody_elses_server_for_anything(site: Path) -> None:
    start = (site / "index.html").read_text(encoding="utf-8")
    assert re.findall(r'<(?:script|link|img)[^>]* (?:src|href)="(https?://[^"]+)"', start) == []
