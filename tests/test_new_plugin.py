"""`ssl-registry new-plugin`: what it writes installs, passes its tests, and is listed."""

import csv
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from ssl_registry.entry import Kind
from ssl_registry.errors import ConfigError
from ssl_registry.loading import INTERFACES
from ssl_registry.scaffold.files import render_plugin, write_plugin
from ssl_registry.scaffold.names import Names, derive_names
from ssl_registry.scaffold.styles import SUMMARIES, Style
from tests.environments import ROOT, Environment, run

COMMAND = Path(sys.executable).with_name("ssl-registry")
Offer = tuple[str, Kind, int, Style]
PLUGINS: dict[str, Offer] = {
    f"{kind}-{dims}d": (f"ssl-registry-mine-{kind}-{dims}d", kind, dims, "question")
    for kind in INTERFACES
    for dims in (2, 3)
}
STYLED: dict[str, Offer] = {
    f"{style}-{dims}d": (f"ssl-registry-mine-{style}-{dims}d", "pretext", dims, style)
    for style in SUMMARIES
    if style != "question"
    for dims in (2, 3)
}
EVERY: dict[str, Offer] = {**PLUGINS, **STYLED}
LONGEST = "a-name-of-thirty-six-letters-and-9"


def call(*words: str | Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [COMMAND, "new-plugin", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.parametrize(
    ("name", "dims", "names"),
    [
        ("mirror", 3, Names("mirror", "mirror", "mirror3d", "Mirror3d")),
        (
            "ssl-registry-mirror",
            2,
            Names("ssl-registry-mirror", "ssl_registry_mirror", "mirror2d", "Mirror2d"),
        ),
        (
            "My_Brain.Age",
            3,
            Names("my-brain-age", "my_brain_age", "my-brain-age3d", "MyBrainAge3d"),
        ),
        ("mirror3d", 3, Names("mirror3d", "mirror3d", "mirror3d", "Mirror3d")),
        ("mirror-3d", 3, Names("mirror-3d", "mirror_3d", "mirror3d", "Mirror3d")),
        ("tiles-4", 2, Names("tiles-4", "tiles_4", "tiles-4-2d", "Tiles4In2d")),
    ],
)
def test_one_name_gives_all_others(name: str, dims: int, names: Names) -> None:
    assert derive_names(name, dims) == names


REFUSED = {
    "3d-mirror": "cannot name a distribution",
    "Mirror Task": "cannot name a distribution",
    "ssl-registry-": "cannot name a distribution",
    "-mirror": "cannot name a distribution",
    "": "cannot name a distribution",
    "class": "is a word of Python",
    "numpy": "can be imported already",
    "random": "can be imported already",
    "ssl_registry": "can be imported already",
    "ssl-registry-rpl": "can be imported already",
    "rpl": "'rpl3d', which is taken by ssl-registry-rpl",
    "unet3d": "'unet3d', which is taken by ssl-registry",
    "ssl-registry-3d": "leaves no name",
    "a-name-that-nobody-could-type-without-a-mistake": "more than 36",
}


@pytest.mark.parametrize(("name", "why"), REFUSED.items())
def test_a_name_that_cannot_be_is_refused_and_another_suggested(name: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        derive_names(name, 3)
    (suggested,) = re.findall(r"try (\S+)$", str(caught.value))
    derive_names(suggested, 3)


def test_a_name_of_other_dimensions_is_refused() -> None:
    with pytest.raises(ConfigError, match="says 2D, but the component is for 3D"):
        derive_names("mirror2d", 3)


def test_a_name_that_an_extra_would_bring_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssl_registry.scaffold.names.EXTRAS", {"anatomy": ("anatomy3d",)})
    with pytest.raises(ConfigError, match="taken by ssl-registry-anatomy"):
        derive_names("anatomy", 3)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "thesis.txt").write_text("years of work")
    assert "is there already" in call("mirror", "--out", tmp_path, status=2).stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mirror"]
    assert (tmp_path / "mirror" / "thesis.txt").read_text() == "years of work"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = call("mirror", "--out", tmp_path / "file" / "below", status=2).stderr
    assert "below/mirror cannot be written" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mirror", "--kind", "pretexts"], "Did you mean pretext?"),
        (["mirror", "--style", "mask"], "is none of question, dense, contrast, model"),
        (["mirror", "--style", "contrastive"], "Did you mean contrast?"),
        (["mirror", "--kind", "backbone", "--style", "dense"], "is for pretext tasks"),
        (["mirror", "--dims", "4"], "neither 2 nor 3"),
        ([], "say a name"),
    ],
)
def test_a_mistake_is_one_message_and_nothing_is_written(
    tmp_path: Path, words: list[str], message: str
) -> None:
    assert message in call(*words, "--out", tmp_path, status=2).stderr
    assert list(tmp_path.iterdir()) == []


def test_without_a_terminal_it_asks_nothing(tmp_path: Path) -> None:
    said = call("mirror", "--out", tmp_path).stdout
    assert "offers mirror3d" in said
    assert (tmp_path / "mirror" / "mirror" / "task.py").is_file()


def test_at_a_terminal_it_asks_for_what_is_not_said(tmp_path: Path) -> None:
    pty = pytest.importorskip("pty")  # terminals of Windows are another matter
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [COMMAND, "new-plugin", "--out", tmp_path], stdin=theirs, stdout=subprocess.PIPE, text=True
    ) as asked:
        os.write(ours, b"pyramid\nbackbone\n2\n")
        said, _ = asked.communicate(timeout=300)
    os.close(ours)
    os.close(theirs)
    for question in ("name of the distribution", "kind (pretext, backbone", "dimensions (2 or 3)"):
        assert question in said
    assert "pyramid2d" in (tmp_path / "pyramid" / "pyramid" / "backbone.py").read_text()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a plugin of each kind and number of dimensions, and one of a long name."""
    folder = tmp_path_factory.mktemp("plugins")
    for name, kind, dims, style in EVERY.values():
        write_plugin(folder / name, derive_names(name, dims), kind, dims, style)
    for kind in INTERFACES:
        names = derive_names(f"{LONGEST}{kind[0]}", 3)
        assert len(names.distribution) == 35
        write_plugin(folder / names.distribution, names, kind, 3)
    return folder


def test_everything_that_a_package_needs_is_there(written: Path) -> None:
    for folder in written.iterdir():
        there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        package = folder.name.replace("-", "_")
        assert there >= {
            "pyproject.toml",
            "README.md",
            "LICENSE",
            ".gitignore",
            ".github/workflows/test.yml",
            f"{package}/hooks.py",
            f"{package}/py.typed",
            f"tests/test_{package}.py",
        }
        workflow: Any = yaml.safe_load((folder / ".github/workflows/test.yml").read_text())
        commands = [step.get("run", "") for step in workflow["jobs"]["test"]["steps"]]
        assert "pytest" in commands
        assert f"ssl-registry check-plugin {folder.name}" in commands
        for path in there:
            assert "{{" not in (folder / path).read_text().replace("${{ matrix.python }}", "")


def test_what_is_written_is_formatted_and_lints_clean(written: Path) -> None:
    for folder in written.iterdir():
        run(sys.executable, "-m", "ruff", "check", "--no-cache", ".", cwd=folder)
        run(sys.executable, "-m", "ruff", "format", "--no-cache", "--check", ".", cwd=folder)


@pytest.mark.long
def test_what_is_written_passes_the_strict_type_checker(written: Path) -> None:
    """With the cache of this repository, for torch is long to read."""
    files = [path for path in written.rglob("*.py") if LONGEST not in str(path)]
    run(
        sys.executable, "-m", "mypy", "--python-version", "3.11", "--cache-dir",
        ROOT / ".mypy_cache", "--config-file", next(written.glob("*/pyproject.toml")), *files,
        cwd=written,
    )  # fmt: skip


def test_the_same_names_give_the_same_files() -> None:
    names = derive_names("mirror", 3)
    assert render_plugin(names, "pretext", 3) == render_plugin(names, "pretext", 3)


def pass_their_own_tests(offers: Iterable[Offer], folder: Path) -> None:
    """Write plugins, rename and move each class, and run the tests that were written beside it.

    All in one process, where they are found as installed ones are: by their metadata on the path.
    """
    suites, path = [], []
    for name, kind, dims, style in offers:
        names = derive_names(name, dims)
        write_plugin(folder / name, names, kind, dims, style)
        rename_and_move(folder / name / names.package, names)
        claim_to_be_installed(folder / name, names)
        suites.append(str(folder / name / "tests"))
        path.append(str(folder / name))
    words = ["-q", "-p", "no:cacheprovider", "--import-mode=importlib", *suites]
    call = (
        f"import os, sys, pytest; sys.path[:0] = {path}; "
        f"os.environ['PYTHONPATH'] = {os.pathsep.join(path)!r}; "  # for processes that checks start
        f"sys.exit(pytest.main({words}))"
    )
    run(sys.executable, "-c", call, cwd=folder)


def rename_and_move(package: Path, names: Names) -> None:
    """Give the class another name and module; a question is also split in two."""
    (module,) = package.glob("[tb]*k*.py")
    text = module.read_text().replace(names.cls, "AnotherName")
    module.unlink()
    (package / "elsewhere.py").write_text(text)
    hooks = package / "hooks.py"
    said = hooks.read_text().replace(f"{module.stem}:{names.cls}", "elsewhere:AnotherName")
    if "class AnotherName" in text and "mirrored" in text:
        (package / "second.py").write_text(
            f"from {names.package}.elsewhere import AnotherName\n\n\n"
            'class Second(AnotherName):\n    """Along which axis, once more?"""\n'
        )
        more = f'Entry("{names.component}-second", "{names.package}.second:Second", '
        said = said.replace(
            "    ]\n", f'        {more}dims={names.cls[-2]}, summary="More"),\n    ]\n'
        )
    hooks.write_text(said)


def claim_to_be_installed(folder: Path, names: Names) -> None:
    """Write the metadata that pip would write."""
    project: Any = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    metadata = folder / f"{names.package}-0.1.0.dist-info"
    metadata.mkdir()
    needs = "".join(f"Requires-Dist: {one}\n" for one in project["dependencies"])
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.4\nName: {names.distribution}\nVersion: 0.1.0\n{needs}"
    )
    ((name, module),) = project["entry-points"]["ssl_registry"].items()
    (metadata / "entry_points.txt").write_text(f"[ssl_registry]\n{name} = {module}\n")


@pytest.mark.long
def test_tests_that_are_written_survive_a_renamed_and_a_split_class(tmp_path: Path) -> None:
    pass_their_own_tests([PLUGINS["pretext-2d"]], tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("dims", [2, 3])
def test_tests_of_every_kind_and_style_survive_a_renamed_class(tmp_path: Path, dims: int) -> None:
    """The contrast among them, whose augmentation is long to trace."""
    pass_their_own_tests([offer for offer in EVERY.values() if offer[2] == dims], tmp_path)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the core and the plugins that its own command wrote there."""
    made = Environment(tmp_path_factory.mktemp("new") / "environment")
    made.install_projects(ROOT)
    for name, kind, dims, _ in PLUGINS.values():
        command = [made.programs / "ssl-registry", "new-plugin", name, "--kind", kind]
        run(*command, "--dims", str(dims), "--out", "mine", cwd=made.folder)
    made.install_projects(*sorted((made.folder / "mine").iterdir()))
    return made


@pytest.mark.long
def test_what_is_written_can_be_installed_and_is_listed(environment: Environment) -> None:
    shown = run(environment.programs / "ssl-registry", "list", cwd=environment.folder).stdout
    for name, kind, dims, _ in PLUGINS.values():
        (row,) = [line.split() for line in shown.splitlines() if f" mine-{kind}{dims}d " in line]
        assert row[1] == f"{dims}D"
        assert row[-2:] == [name, "0.1.0"]


@pytest.mark.long
def test_what_is_written_passes_its_own_tests(environment: Environment) -> None:
    """All in one process, for torch is long to import."""
    suites = sorted((environment.folder / "mine").glob("*/tests/test_*.py"))
    assert len(suites) == len(PLUGINS)
    words = ["-q", "--rootdir", environment.folder, "--junitxml=report.xml", *suites]
    run(environment.python, "-m", "pytest", *words, cwd=environment.folder)
    report = ElementTree.parse(environment.folder / "report.xml").getroot()
    for suite in suites:
        ran = [case for case in report.iter("testcase") if suite.stem in case.attrib["classname"]]
        assert len(ran) > 30
        assert any("work_stays_on_the_device" in case.attrib["name"] for case in ran)
        assert all(len(case) == 0 for case in ran), "one failed, or was skipped"


@pytest.mark.long
def test_the_task_of_the_readme_takes_the_place_of_the_one_that_is_written(
    environment: Environment,
) -> None:
    """As the README says it, word by word."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^ssl-registry (new-plugin .*)$", readme, flags=re.MULTILINE)
    blocks = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    (block,) = [block for block in blocks if "class Mirror3d" in block]
    program, folder = environment.programs / "ssl-registry", environment.folder
    run(program, *command.split(), cwd=folder)
    code = block.partition("\nregistry.register")[0].replace("Mirror3d", "MyMirror3d")
    (folder / "my-mirror" / "my_mirror" / "task.py").write_text(code)
    environment.install_projects(folder / "my-mirror")
    assert "my-mirror3d" in run(program, "list", cwd=folder).stdout
    assert "none failed" in run(program, "check-plugin", "my-mirror", cwd=folder).stdout


FIRST_RUN = (
    "tasks=[evening3d] data=phantoms:10 labelled=[4] seeds=[0] size=32 "
    "backbone=unet3d backbone.base_filters=8 pretrain.epochs=1 finetune.steps=4 out=runs/evening"
)
"""Small volumes, a small network, and as few steps as a first look needs."""


@pytest.mark.long
def test_from_a_name_to_a_row_of_the_data_efficiency_table(tmp_path: Path) -> None:
    made = Environment(tmp_path / "environment")
    made.install_projects(ROOT)
    program = made.programs / "ssl-registry"
    run(program, "new-plugin", "evening", "--kind", "pretext", "--dims", "3", cwd=tmp_path)
    made.install_projects(tmp_path / "evening")
    run(program, "efficiency", *FIRST_RUN.split(), cwd=tmp_path)
    out = tmp_path / "runs" / "evening"
    with (out / "results.csv").open(newline="") as file:
        rows = {row["line"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"scratch", "evening3d"}
    assert "evening=0.1.0" in rows["evening3d"]["versions"]
    assert 0 <= float(rows["evening3d"]["dice"]) <= 1
    assert "| evening3d |" in (out / "report" / "table.md").read_text()
