"""Reads the corpus in a process of its own, with little memory, and watches what it does.

    python -m tests.handed.run FOLDER

prints a line of JSON for each entry: what reading it came to, and what it did that it must not.
"""

import json
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from ssl_registry import load_encoder, registry
from ssl_registry.backbone import Backbone
from ssl_registry.data.formats.limits import VARIABLE
from ssl_registry.data.preparing.preprocessing import Preprocessing
from ssl_registry.data.sources.opening import open_source
from ssl_registry.data.split_files import read_split
from ssl_registry.documents import read_yaml
from ssl_registry.downstream import DownstreamTask
from ssl_registry.errors import ConfigError, SslRegistryError
from ssl_registry.experiments.grid.settings import EfficiencySettings
from ssl_registry.training.files.case_table import read_cases
from ssl_registry.training.files.encoder_file import write_encoder
from ssl_registry.training.finetuning.downstream_model import DownstreamModel
from ssl_registry.training.finetuning.model_file import ModelSummary, load_model, write_model
from ssl_registry.training.finetuning.predictions_file import read_predictions
from ssl_registry.training.settings.reading import read_settings
from ssl_registry.training.settings.runs import PretrainSettings
from tests.handed import NET, entries

MEMORY: Final = 2**30
"""Bytes that reading may take beyond what the libraries have taken by themselves."""

VOXELS: Final = 40_000_000
"""Values that an array may have here."""

SECONDS: Final = 60
"""Seconds after which an entry counts as a hang, and ends the process."""

FORBIDDEN: Final = (
    "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "os.spawn", "os.startfile",
    "subprocess.Popen", "pty.spawn", "pickle.find_class", "marshal.load", "socket.connect",
    "socket.getaddrinfo", "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.chmod", "os.link",
    "os.symlink", "os.truncate", "shutil.rmtree",
)  # fmt: skip
"""What Python itself reports of what is done (PEP 578), and no reader may do."""


class Watch:
    """Notes what must not be done while it is on."""

    def __init__(self) -> None:
        self.on = False
        self.seen: list[str] = []
        sys.addaudithook(self)

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.on:
            return
        writes = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
        if event in FORBIDDEN or writes:
            self.seen.append(f"{event} {args[:1]!r}"[:200])


def write_sound(run: Path) -> None:
    """Write the files of a run, all of them sound."""
    backbone, task = registry.create(NET), registry.create("segmentation3d")
    assert isinstance(backbone, Backbone)
    assert isinstance(task, DownstreamTask)
    encoder, prepared = backbone.build(1), Preprocessing()
    write_encoder(
        run, encoder, backbone=backbone, task=None, preprocessing=prepared, size=16, data={},
        versions={},
    )  # fmt: skip
    labels = {0: "background", 1: "organ"}
    write_model(
        run,
        DownstreamModel(encoder, task.build_head(encoder, len(labels))),
        ModelSummary(backbone, task, 1, labels, prepared, 16, 0, {}, {}),
    )
    np.savez(run / "predictions.npz", case=np.zeros((2, 2, 2), np.uint8))
    (run / "config.yaml").write_text("task: rotation3d\ndata: phantoms:4\nout: out\n")
    (run / "curve.yaml").write_text("tasks: [rotation3d]\ndata: phantoms:4\nout: out\n")
    (run / "cases.csv").write_text("case,part,group,content,label\na,train,a,b,c\n")
    names = [case.name for case in open_source("phantoms:2").cases]
    (run / "split.csv").write_text("case,part\n" + "".join(f"{name},train\n" for name in names))


READERS: Final[dict[str, Callable[[Path], object]]] = {
    "encoder": load_encoder,
    "model": load_model,
    "predictions": lambda run: read_predictions(run, ["case"]),
    "config": lambda run: read_settings(
        PretrainSettings, read_yaml(run / "config.yaml", ConfigError), "pretrain"
    ),
    "curve": lambda run: EfficiencySettings.read(**read_yaml(run / "curve.yaml", ConfigError)),
    "cases": read_cases,
    "split": lambda run: read_split(run / "split.csv", open_source("phantoms:2")),
}


def main(root: Path) -> None:
    """Read the sound run with every reader, then every entry of the corpus."""
    os.environ[VARIABLE] = str(VOXELS)
    sound = root / "sound"
    sound.mkdir(parents=True)
    os.chdir(root)
    write_sound(sound)
    for read in READERS.values():  # loads what is loaded on first use
        read(sound)
    registry.get("timm"), registry.get("monai-segresnet3d"), registry.get("monai-swinunetr3d")
    watch = Watch()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    for entry in entries():
        signal.alarm(SECONDS)
        run = root / "run"
        shutil.copytree(sound, run)
        entry.spoil(run)
        before = sorted(path.name for path in root.rglob("*"))
        watch.seen, watch.on = [], True
        came = tell(lambda run=run, entry=entry: READERS[entry.reader](run))
        watch.on = False
        left = sorted({path.name for path in root.rglob("*")} - set(before))
        line = {"name": entry.name, "came": came, "did": [*watch.seen, *left]}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        shutil.rmtree(run)


def tell(action: Callable[[], object]) -> str:
    """Return how an action ended."""
    try:
        return f"works: {str(action())[:200]}"
    except SslRegistryError as error:
        return f"refused: {error}"
    except BaseException as error:  # noqa: BLE001
        return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
