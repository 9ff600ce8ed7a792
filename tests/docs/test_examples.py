"""Every command and every Python block of the README and the documentation runs.

Blocks of one page run in order, in one folder, where example data lie under the names that the
pages use. Budgets are cut down: to the words of a training command those of `SMALLER` are
added, which win over earlier ones; a network without a size of its own becomes a small one.
A YAML block whose first line is a comment with a file name is written to that file.
"""

import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
import pytest
import yaml
from PIL import Image

from ssl_registry import registry
from ssl_registry.cli.app import app
from ssl_registry.data.sources.phantoms import phantom_slice, write_phantoms
from tests.docs.layouts import write_imagenet, write_layouts

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

BLOCK: Final = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHOWN_ONLY: Final = {"text", "yaml", "toml", "json", "csv", "slurm"}
"""Languages of blocks that are no commands; YAML is read, to see that it is valid."""

SMALLER: Final[dict[str, tuple[str, ...]]] = {
    "pretrain": ("epochs=1",),
    "finetune": ("epochs=2", "freeze_epochs=0"),
    "efficiency": ("pretrain.epochs=1", "finetune.steps=2", "seeds=[0]", "labelled=[1]"),
}
PROVED_ELSEWHERE: Final[dict[str, str]] = {
    r"make (demo|test|install|docs)": ".ci/run",
    r"pip install .*": "tests/test_third_party.py",
    r"(cd|export) .*": "tests/docs/test_examples.py",
    r"nnUNetv2_\w+ .*": "plugins/nnunet/tests/test_nnunet_checkpoint.py",
}
"""Commands that are not run here, and what shows that they work."""


@dataclass(frozen=True)
class Block:
    language: str
    text: str


def blocks_of(page: Path) -> list[Block]:
    return [Block(*found) for found in BLOCK.findall(page.read_text(encoding="utf-8"))]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def commands_of(text: str) -> Iterator[list[str]]:
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield words


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with data under the names that the pages use."""
    folder = tmp_path_factory.mktemp("examples")
    decathlon = write_phantoms(folder / "Task04_Hippocampus", count=20, side=24)
    (folder / "scans").mkdir()
    for scan in sorted((decathlon / "imagesTr").iterdir())[:4]:
        (folder / "scans" / scan.name).write_bytes(scan.read_bytes())
    pictures = folder / "eyepacs" / "train_images"
    pictures.mkdir(parents=True)
    rows = ["id_code,diagnosis"]
    for index in range(20):
        name = f"{index // 2}_{'left' if index % 2 else 'right'}"
        grey = phantom_slice(index, 32).image[0, ..., 0].numpy()
        bright = (255 * (grey - grey.min()) / np.ptp(grey)).astype(np.uint8)
        Image.fromarray(bright).convert("RGB").save(pictures / f"{name}.png")
        rows.append(f"{name},{index % 3}")
    (pictures.parent / "train.csv").write_text("\n".join(rows) + "\n")
    write_layouts(folder, decathlon)
    parts = ["case,part", *(f"{row.partition(',')[0]},train" for row in rows[1:])]
    (folder / "my_split.csv").write_text("\n".join(parts) + "\n")
    return folder


@pytest.fixture
def workplace(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder in which a page's blocks run."""
    here = tmp_path / "work"
    here.mkdir()
    for item in data.iterdir():
        (here / item.name).symlink_to(item)
        (tmp_path / item.name).symlink_to(item)
    (here / "scan.nii.gz").symlink_to(next((data / "scans").iterdir()))
    monkeypatch.chdir(here)
    monkeypatch.setattr(registry, "_registered", {})
    return here


@pytest.mark.long
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_blocks_of_a_page_run(
    page: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("notebook")  # what a page defines can be found again, as in a notebook
    monkeypatch.setitem(sys.modules, module.__name__, module)
    names: dict[str, Any] = module.__dict__
    if page.name == "results.md":
        write_imagenet(workplace / "efficientnet-lite0-57934424.pth")
    for block in blocks_of(page):
        if block.language == "python":
            exec(compile(block.text, f"{name_of(page)}", "exec"), names)
        elif block.language == "bash":
            for words in commands_of(block.text):
                run_command(words)
        elif block.language == "yaml":
            keep_yaml(block.text, workplace)
        else:
            assert block.language in SHOWN_ONLY, f"{name_of(page)}: a block of {block.language!r}"


def run_command(words: list[str]) -> None:
    if words[0] != "ssl-registry":
        known = [proof for form, proof in PROVED_ELSEWHERE.items() if matches(form, words)]
        assert known, f"no test runs {shlex.join(words)}"
        assert all((ROOT / proof).is_file() for proof in known)
        return
    smaller = ("epochs=2",) if "resume=true" in words else SMALLER.get(words[1], ())
    command = [*words[1:], *smaller, *small_network(words)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "120")
        status = app(command, standalone_mode=False)
    assert not status, f"{shlex.join(command)} ended with {status}"


def matches(form: str, words: list[str]) -> bool:
    return re.fullmatch(form, shlex.join(words)) is not None


def small_network(words: list[str]) -> list[str]:
    """Return words that make a network small which has no encoder to be that of."""
    if words[1] not in SMALLER or any(word.startswith("encoder=") for word in words):
        return []
    said = " ".join(words)
    if any(word.endswith((".yaml", ".yml")) for word in words):
        return []
    dims = 2 if re.search(r"(task=|tasks=\[|name: )\w+2d|downstream=\w+2d", said) else 3
    size = "size=24" if dims == 3 else "size=48"
    backbone = re.search(r"backbone=(\S+)", said)
    if backbone and backbone.group(1) == "densenet121":
        return ["backbone.growth=2", size]
    if "encoders=" in said:
        return []
    if backbone and not backbone.group(1).startswith("unet"):
        return [size]
    network = [] if backbone else [f"backbone=unet{dims}d"]
    return [*network, "backbone.base_filters=2", "backbone.levels=3", size]


def keep_yaml(text: str, workplace: Path) -> None:
    """Write a block that has a file's name on top to that file, with a small network."""
    settings = yaml.safe_load(text)
    assert isinstance(settings, dict)
    first = re.match(r"# (\S+\.ya?ml)$", text, flags=re.MULTILINE)
    if not first:
        return
    for task in settings.get("tasks", []):
        if isinstance(task, dict):
            task.pop("pretrain", None)
    dims, size = (2, 48) if "2d" in str(settings.get("downstream")) else (3, 24)
    network = {"name": f"unet{dims}d", "base_filters": 2, "levels": 3}
    small = {**settings}
    if "encoders" not in settings:
        small |= {"size": size, "backbone": network}
    small.pop("fractions", None)
    small.get("pretrain", {}).pop("steps", None)  # `SMALLER` says how long
    if "data" in settings:
        small["data"] = re.sub(r"phantoms:\d+", "phantoms:20", settings["data"])
    first_task = settings.get("tasks", [])[:1]  # one line is enough to see that the file works
    small |= {"tasks": first_task} if first_task else {}
    file = workplace / first.group(1)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(small), encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_command_hides_in_an_indented_block(page: Path) -> None:
    """Only fenced blocks say their language, and only they are run."""
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    indented = re.findall(r"\n\n(    (?:ssl-registry|pip|make|python) [^\n]*)", text)
    assert indented == []
