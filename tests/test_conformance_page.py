"""The page that failing checks refer to describes every check, as it is."""

from scripts.write_conformance_page import PAGE, page
from ssl_registry import registry
from ssl_registry.testing import checks_of


def test_the_page_is_what_the_checks_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run scripts/write_conformance_page.py"


def test_every_check_has_one_heading_of_its_own() -> None:
    headings = [line for line in page().splitlines() if line.startswith("### ")]
    assert len(headings) == len(set(headings))
    for checked in (*("rotation2d", "unet2d", "classification2d"), None):
        subject = registry.create(checked) if checked else "ssl-registry"
        assert {f"### {check.name}" for check in checks_of(subject)} <= set(headings)
