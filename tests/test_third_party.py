"""Wheels as a user installs them: the core alone, with extras, and with a stranger's plugin."""

import json
import re
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.environments import ROOT, Environment, run

CUTOUT = Path(__file__).parent / "third_party" / "ssl-registry-cutout"
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))
PROJECTS = {
    "ssl_registry": ROOT,
    **{f"ssl_registry_{folder.name}": folder for folder in PLUGINS},
    "cutout_task": CUTOUT,
}


SHORT = {"ssl_registry", "cutout_task"}
"""What is built every day; the first-party plugins are packed alike, and are for the long tests."""

EACH = [
    package if package in SHORT else pytest.param(package, marks=pytest.mark.long)
    for package in PROJECTS
]


class Wheels:
    """A folder of wheels, each built from its source distribution when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.built: set[str] = set()

    def of(self, *packages: str) -> Path:
        for package in sorted({*packages} - self.built):
            command = [sys.executable, "-m", "build", "--no-isolation", "-o", self.folder]
            run(*command, PROJECTS[package], cwd=self.folder)
            self.built.add(package)
        return self.folder


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Wheels:
    return Wheels(tmp_path_factory.mktemp("dist"))


@pytest.fixture
def dist(wheels: Wheels) -> Path:
    """The wheels of all projects."""
    return wheels.of(*PROJECTS)


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path / "environment")


def contents(wheels: Wheels, package: str) -> set[str]:
    distribution = "ssl_registry_cutout" if package == "cutout_task" else package
    (wheel,) = wheels.of(package).glob(f"{distribution}-[0-9]*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


def added(environment: Environment) -> list[str]:
    """Return the pretext tasks that the core does not bring itself."""
    core = "ssl-registry:"
    return [name for name in environment.names("pretext") if not name.startswith(core)]


@pytest.mark.parametrize("package", EACH)
def test_a_wheel_holds_its_package_and_nothing_else(wheels: Wheels, package: str) -> None:
    source = PROJECTS[package]
    there = {
        str(path.relative_to(source))
        for path in (source / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    inside = {name for name in contents(wheels, package) if ".dist-info/" not in name}
    assert inside == there
    assert f"{package}/py.typed" in inside
    assert not [name for name in inside if "test_" in name or "/tests/" in name]


@pytest.mark.parametrize("package", EACH)
def test_a_wheel_declares_its_plugin(wheels: Wheels, package: str) -> None:
    (wheel,) = {
        name.partition("/")[0] for name in contents(wheels, package) if ".dist-info" in name
    }
    assert f"{wheel}/entry_points.txt" in contents(wheels, package)


def test_the_core_alone_tells_what_to_install(wheels: Wheels, environment: Environment) -> None:
    environment.install(wheels.of("ssl_registry"), "ssl-registry")
    assert added(environment) == []
    assert "ssl-registry:unet3d" in environment.names("backbone")
    said = environment.ask(
        "import ssl_registry\n"
        "print(ssl_registry.__file__)\n"
        "try: ssl_registry.registry.get('rpl3d')\n"
        "except ssl_registry.errors.UnknownComponentError as error: print(error)"
    )
    place, error = said.splitlines()
    assert Path(place).is_relative_to(environment.folder)
    assert "rpl3d" in error
    assert 'pip install "ssl-registry[rpl]"' in error


@pytest.mark.long
def test_an_extra_brings_its_tasks_and_no_others(wheels: Wheels, environment: Environment) -> None:
    environment.install(wheels.of("ssl_registry", "ssl_registry_rpl"), "ssl-registry[rpl]")
    brought = added(environment)
    assert {"ssl-registry-rpl:rpl2d", "ssl-registry-rpl:rpl3d"} <= {*brought}
    assert {name.partition(":")[0] for name in brought} == {"ssl-registry-rpl"}
    show = "from ssl_registry import registry; print(registry.create('rpl3d', jitter=2).jitter)"
    assert environment.ask(show).strip() == "2"


@pytest.mark.long
def test_all_brings_everything_and_each_plugin_may_go_again(
    dist: Path, environment: Environment
) -> None:
    environment.install(dist, "ssl-registry[all]")
    assert {name.partition(":")[0] for name in added(environment)} == {
        f"ssl-registry-{extra}" for extra in extras_of_all()
    }
    check_that_each_may_go(environment)


def extras_of_all() -> list[str]:
    """Return the extras that `[all]` names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (everything,) = project["optional-dependencies"]["all"]
    return everything.partition("[")[2].rstrip("]").split(",")


def check_that_each_may_go(environment: Environment) -> None:
    """Uninstall one plugin after the other: whatever the others offer is there as before."""
    offered = environment.names()
    installed = {name.partition(":")[0] for name in offered} - {"ssl-registry"}
    assert len(installed) == len(extras_of_all())
    for gone in sorted(installed):
        environment.uninstall(gone)
        offered = [name for name in offered if not name.startswith(f"{gone}:")]
        assert environment.names() == offered
    assert {name.partition(":")[0] for name in offered} == {"ssl-registry"}


@pytest.mark.long
def test_a_plugin_brings_the_core(wheels: Wheels, environment: Environment) -> None:
    found = wheels.of("ssl_registry", "ssl_registry_rotation")
    environment.install(found, "ssl-registry-rotation")
    assert "ssl-registry-rotation:rotation3d" in environment.names("pretext")


USE = """
import sys

import torch
from ssl_registry import finetune, load_encoder, registry
from ssl_registry.cli import main
from ssl_registry.testing import check_backbone, check_pretext_task


def call(*words):
    sys.argv = ["ssl-registry", *words]
    try:
        main()
    except SystemExit as end:
        assert not end.code, words


task, backbone = registry.create("cutout3d"), registry.create("tiny3d")
check_pretext_task(task, channels=(1,), backbone=backbone)
check_backbone(backbone, channels=(1,))
call("show", "cutout3d")
call("preview", "cutout3d", "share=0.25", "--size", "16")
call("pretrain", "task=cutout3d", "task.share=0.25", "backbone=tiny3d", "data=phantoms:4",
     "size=32", "epochs=1", "batch_size=2", "out=pretrained")
encoder = load_encoder("pretrained")
print([list(level.shape) for level in encoder(torch.zeros(1, 1, 32, 32, 32))])
run = finetune(encoder="pretrained", data="phantoms:4", epochs=1, batch_size=2,
               out="finetuned", quiet=True)
print(run.result["kind"])
"""


def test_a_third_party_plugs_in_without_a_change_to_the_core(
    wheels: Wheels, environment: Environment
) -> None:
    environment.install(wheels.of(*SHORT), "ssl-registry-cutout")
    assert "ssl-registry-cutout:cutout3d" in added(environment)
    assert {name.partition(":")[0] for name in added(environment)} == {"ssl-registry-cutout"}
    assert "ssl-registry-cutout:tiny3d" in environment.names("backbone")
    program = environment.programs / "ssl-registry"
    for words, shown in (
        ("list", r"cutout3d .*What was in the box .*ssl-registry-cutout"),
        ("list", r"tiny3d .*Three convolutions .*ssl-registry-cutout"),
        ("plugins", r"ssl-registry-cutout .*cutout3d"),
    ):
        assert re.search(shown, run(program, *words.split(), cwd=environment.folder).stdout), words

    said = environment.ask(USE)  # in one process, for torch is long to import
    assert re.search(r"share .*side of the box", said)
    assert "Hide a box in the volume" in said
    assert (environment.folder / "preview.png").is_file()
    written = json.loads((environment.folder / "pretrained" / "encoder.json").read_text())
    assert written["backbone"] == {"name": "tiny3d", "width": 4}
    assert written["task"] == {"name": "cutout3d", "share": 0.25}

    shapes, kind = said.splitlines()[-2:]
    assert json.loads(shapes) == [[1, 4, 32, 32, 32], [1, 8, 16, 16, 16], [1, 16, 8, 8, 8]]
    assert kind == "finetune"
