"""A real browser, to see a page as its readers will."""

import html
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars",
)  # fmt: skip

WATCH = """
<script>
const broken = [];
addEventListener("error", (e) => broken.push(e.message || String(e.target.src || e.target)), true);
addEventListener("load", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
  const images = [...document.images];
  parent.postMessage({
    width: innerWidth, needed: document.documentElement.scrollWidth, broken,
    images: images.length,
    missing: images.filter((image) => !image.naturalWidth).map((image) => image.alt),
  }, "*");
});
</script>
"""
"""What is put into the page: it tells the frame around it how it stands."""

FRAME = """<!doctype html>
<script>
addEventListener("message", (message) =>
  document.documentElement.setAttribute("data-seen", JSON.stringify(message.data)));
</script>
<iframe src="page.html" style="width: {width}px; height: 800px; border: 0"></iframe>
"""
"""A window as narrow as is asked for: those of browsers have a least width."""


@dataclass(frozen=True)
class Seen:
    """What a browser found, with all that folds open.

    Attributes:
        width: of the window, in CSS pixels.
        needed: what the page takes; more than `width` means that it scrolls sideways.
        images: their number.
        missing: what images that could not be shown should have shown.
        broken: errors of scripts and of loading.
    """

    width: int
    needed: int
    images: int
    missing: list[str]
    broken: list[str]


def find_browser() -> str:
    """Return the program, or skip the test and say why; where tests must be whole, fail."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        reason = "no Chromium here to open the page with (on Debian: apt-get install chromium)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def open_page(page: Path, width: int, folder: Path) -> Seen:
    """Open a page in a window of that width; `folder` takes the browser's own files."""
    folder.mkdir()
    text = page.read_text(encoding="utf-8")
    assert "<head>" in text
    (folder / "page.html").write_text(text.replace("<head>", f"<head>{WATCH}", 1))
    frame = folder / "frame.html"
    frame.write_text(FRAME.format(width=width))
    command = [
        find_browser(), *FLAGS, f"--user-data-dir={folder / 'profile'}",
        f"--window-size={width + 100},1000", "--dump-dom", frame.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    found = re.search(r'data-seen="([^"]*)"', done.stdout)
    assert found, done.stderr
    return Seen(**json.loads(html.unescape(found.group(1))))
