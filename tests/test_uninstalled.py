"""Plugins that are renamed, upgraded or gone, and the run folders that used them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
import yaml

from ssl_registry import finetune, load_encoder, predict, pretrain, registry
from ssl_registry.errors import ComponentDeprecationWarning, UnknownComponentError
from ssl_registry.experiments import EfficiencySettings
from ssl_registry.experiments.efficiency import run_missing
from ssl_registry.training.preparation.cases import quiet_or_loud

if TYPE_CHECKING:
    from conftest import Site

BACKBONE = """
from typing import ClassVar, Literal
from torch import nn
from ssl_registry import Backbone, Encoder, RemovedField, RenamedField

class Small(Backbone):
    spatial_dims: ClassVar[Literal[2, 3]] = 3
    width: int = 2
    wrap: bool = False

    def build(self, in_channels):
        return SmallEncoder(in_channels, self.width)

class SmallEncoder(Encoder):
    def __init__(self, in_channels, width):
        super().__init__()
        self.in_channels, self.channels, self.strides = in_channels, (width,), ((2, 2, 2),)
        self.level = nn.Conv3d(in_channels, width, 3, stride=2, padding=1)

    def forward(self, x):
        return [self.level(x).relu()]
"""
HOOK = "@hookimpl\ndef ssl_registry_backbones():\n    return [{entry}]\n"
LATER_FIELDS = """
    former_fields: ClassVar = {
        "width": RenamedField(now="filters", until="3.0"),
        "wrap": RemovedField(always=False, until="3.0"),
    }
    filters: int = 2
"""


class Shelf:
    """Two plugins that come and go: acme with a backbone, zebra with a task."""

    def __init__(self, site: "Site", look: Callable[[], None]) -> None:
        self.site, self.look = site, look

    def install_acme(self) -> None:
        self.site.add_module("fake_small", BACKBONE)
        entry = 'Entry("small3d", "fake_small:Small", dims=3)'
        self.site.install("acme", HOOK.format(entry=entry), version="1.0")

    def upgrade_acme(self) -> None:
        """Version 2.0 has another name for the backbone, and for its field."""
        self.uninstall("acme")
        fields = "    width: int = 2\n    wrap: bool = False\n"
        code = BACKBONE.replace(fields, LATER_FIELDS.lstrip("\n")).replace(
            "self.width)", "self.filters)"
        )
        self.site.add_module("fake_small", code)
        entry = (
            'Entry("little3d", "fake_small:Small", dims=3, '
            'formerly=(FormerName("small3d", until="3.0"),))'
        )
        code = "from ssl_registry import FormerName\n" + HOOK.format(entry=entry)
        self.site.install("acme", code, version="2.0")

    def install_zebra(self) -> None:
        self.site.offer("zebra", '[Entry("stripes3d", "fake_components:Task", dims=3)]')

    def uninstall(self, distribution: str) -> None:
        for info in self.site.folder.glob(f"{distribution}-*.dist-info"):
            shutil.rmtree(info)
        (self.site.folder / f"fake_{distribution}.py").unlink()


@pytest.fixture
def shelf(site: "Site", look: Callable[[], None]) -> Shelf:
    made = Shelf(site, look)
    made.install_acme()
    made.install_zebra()
    look()
    return made


@pytest.fixture
def run(shelf: Shelf, tmp_path: Path) -> Path:
    """A pretraining run that used both plugins."""
    out = tmp_path / "run"
    pretrain(
        task="stripes3d", backbone={"name": "small3d", "width": 3}, data="phantoms:4", size=16,
        epochs=1, out=out, quiet=True,
    )  # fmt: skip
    return out


def test_a_run_says_which_distributions_it_used(run: Path) -> None:
    written = json.loads((run / "encoder.json").read_text())
    assert written["distributions"] == {"backbone": "acme 1.0", "task": "zebra 1.0"}
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["distributions"] == {"backbone": "acme 1.0", "task": "zebra 1.0"}


def test_an_encoder_of_an_older_release_is_loaded_and_says_until_when(
    run: Path, shelf: Shelf
) -> None:
    images = torch.rand(2, 1, 16, 16, 16)
    before = load_encoder(run)(images)
    shelf.upgrade_acme()
    shelf.look()
    with pytest.warns(ComponentDeprecationWarning) as caught:
        after = load_encoder(run)(images)
    assert torch.equal(before[0], after[0])
    said = "\n".join(str(warning.message) for warning in caught)
    assert "small3d is called little3d now; the old name works until acme 3.0" in said
    assert "'width' is called filters now; the old name works until version 3.0" in said
    assert "'wrap' is gone, and False is what it always does" in said


def test_an_encoder_outlives_the_plugin_of_its_pretext_task(
    run: Path, shelf: Shelf, tmp_path: Path
) -> None:
    shelf.uninstall("zebra")
    shelf.look()
    done = finetune(encoder=run, data="phantoms:4", epochs=1, out=tmp_path / "tuned", quiet=True)
    written = json.loads((done.folder / "encoder.json").read_text())
    assert written["task"]["name"] == "stripes3d"
    assert written["distributions"] == {"backbone": "acme 1.0", "task": "zebra 1.0"}


def test_an_encoder_without_its_backbone_says_what_to_install(run: Path, shelf: Shelf) -> None:
    shelf.uninstall("acme")
    shelf.look()
    wanted = r"encoder\.json: .*'small3d'.*acme 1\.0, which is not installed: pip install"
    with pytest.raises(UnknownComponentError, match=wanted + r' "acme==1\.0"'):
        load_encoder(run)
    assert registry.create("unet3d", levels=2) is not None
    assert registry.failures() == []


def test_a_release_that_lacks_the_component_is_told_from_the_one_that_had_it(
    run: Path, shelf: Shelf
) -> None:
    shelf.uninstall("acme")
    shelf.site.offer("acme", "[]", hook="backbones")
    next(shelf.site.folder.glob("acme-*")).rename(shelf.site.folder / "acme-4.0.dist-info")
    metadata = shelf.site.folder / "acme-4.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("1.0", "4.0"))
    shelf.look()
    with pytest.raises(
        UnknownComponentError, match=r"installed is 4\.0: pip install \"acme==1.0\""
    ):
        load_encoder(run)


def test_the_settings_of_a_run_without_its_task_say_what_to_install(
    run: Path, shelf: Shelf, tmp_path: Path
) -> None:
    shelf.uninstall("zebra")
    shelf.look()
    settings = yaml.safe_load((run / "config.yaml").read_text())
    with pytest.raises(UnknownComponentError, match=r"task: .*'stripes3d'.*\"zebra==1\.0\""):
        pretrain(**{**settings, "out": tmp_path / "again"}, quiet=True)
    assert not (tmp_path / "again").exists()


def test_settings_written_by_a_run_can_be_used_again(run: Path, tmp_path: Path) -> None:
    settings = yaml.safe_load((run / "config.yaml").read_text())
    again = pretrain(**{**settings, "out": tmp_path / "again"}, quiet=True)
    first = (run / "encoder.safetensors").read_bytes()
    assert (again.folder / "encoder.safetensors").read_bytes() == first


def test_a_name_that_two_offer_by_now_means_the_one_that_was_used(run: Path, shelf: Shelf) -> None:
    shelf.site.offer("other", '[Entry("small3d", "fake_small:Small", dims=3)]', hook="backbones")
    shelf.look()
    assert load_encoder(run).channels == (3,)


def test_an_encoder_file_that_names_no_distribution_is_read(run: Path) -> None:
    written = json.loads((run / "encoder.json").read_text())
    del written["distributions"]
    (run / "encoder.json").write_text(json.dumps(written))
    assert load_encoder(run).channels == (3,)


@pytest.fixture
def curve(shelf: Shelf, tmp_path: Path) -> Path:
    """The folder of an experiment that used both plugins."""
    settings = EfficiencySettings.read(
        tasks=["stripes3d"], backbone="small3d", data="phantoms:6", size=16, labelled=[1],
        seeds=[0], pretrain={"epochs": 1}, finetune={"steps": 1}, out=tmp_path / "curve",
    )  # fmt: skip
    run_missing(settings, 1, quiet_or_loud(quiet=True))
    return settings.out


def test_the_folder_of_an_experiment_says_what_to_install(curve: Path, shelf: Shelf) -> None:
    said = yaml.safe_load((curve / "config.yaml").read_text())
    for gone, words in (("zebra", "'stripes3d'.*zebra==1.0"), ("acme", "'small3d'.*acme==1.0")):
        shelf.uninstall(gone)
        shelf.look()
        with pytest.raises(UnknownComponentError, match=f"efficiency: .*{words}"):
            EfficiencySettings.read(**said)
        shelf.install_zebra() if gone == "zebra" else shelf.install_acme()
        shelf.look()
    assert EfficiencySettings.read(**said).distributions["tasks.stripes3d"] == "zebra 1.0"


def test_an_experiment_goes_on_without_the_plugin_of_a_task_that_it_had(
    curve: Path, shelf: Shelf
) -> None:
    before = (curve / "results.csv").read_text()
    shelf.uninstall("zebra")
    shelf.look()
    said = yaml.safe_load((curve / "config.yaml").read_text())
    encoder = next(curve.glob("pretrain/**/encoder.json")).parent
    gone = EfficiencySettings.read(**{**said, "tasks": [], "encoders": {"old": encoder}})
    run_missing(gone, 1, quiet_or_loud(quiet=True))
    rows = (curve / "results.csv").read_text().splitlines()
    assert [row.partition(",")[0] for row in rows] == ["line", "scratch", "old"]
    assert before.splitlines()[1] in rows


def test_a_model_without_its_backbone_says_what_to_install(curve: Path, shelf: Shelf) -> None:
    model = next(curve.glob("runs/**/model.json")).parent
    shelf.uninstall("acme")
    shelf.look()
    with pytest.raises(UnknownComponentError, match=r'model\.json: .*"acme==1\.0"'):
        predict(model, images=curve, out=curve / "labels")
