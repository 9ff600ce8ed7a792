"""Following a run: its metrics and pictures in TensorBoard, Weights & Biases or MLflow.

The loggers are Lightning's. Nothing leaves the machine unless the user has said so: Weights &
Biases is offline without `WANDB_MODE`, and MLflow writes to the run's folder without
`MLFLOW_TRACKING_URI`.
"""

import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from torch import nn

from ssl_registry.distributed import is_main
from ssl_registry.errors import ConfigError
from ssl_registry.training.engine.callbacks import Callback
from ssl_registry.training.files.run_folder import RunFolder
from ssl_registry.training.settings.runs import RunSettings

Picture = npt.NDArray[np.uint8]
"""`[rows, columns, 3]`."""

Pictures = Callable[[], Mapping[str, Picture]]
"""Pictures of what a model answers now, by name."""

LIBRARIES: Final = ("tensorboard", "wandb", "mlflow")


def choose_logger(settings: RunSettings) -> str:
    """Return which library a run is followed with, or `"none"`.

    Raises:
        ConfigError: it is named and not installed.
    """
    name = settings.logger
    if name == "auto":
        return "tensorboard" if find_spec("tensorboard") else "none"
    if name in LIBRARIES and find_spec(name) is None:
        raise ConfigError(
            f"logger={name}: the library is not installed; `pip install "
            f'"ssl-registry[{name}]"` brings it, or set logger=none'
        )
    return name


class Following(Callback):
    """Sends each epoch's row of `metrics.csv`, and pictures where it was validated.

    A resumed run goes on with the log that it began.

    Args:
        name: of the library, as `choose_logger` returns it.
        folder: of the run.
        settings: sent once, so that runs can be compared by them.
        pictures: of the validation cases; None for no pictures.
    """

    def __init__(
        self, name: str, folder: RunFolder, settings: RunSettings, pictures: Pictures | None = None
    ) -> None:
        self.name, self.folder, self.settings = name, folder, settings
        self.pictures = pictures
        self.logger: Logger | None = None
        self.run: str | None = None

    def on_start(self, step: int, total: int) -> None:
        """Open the log, or the one that the resumed run began."""
        if self.name == "none" or not is_main():
            return
        self.logger = self._open(step)
        if step == 0:
            self.logger.log_hyperparams(self.settings.model_dump(mode="json"))
        if self.name != "tensorboard":
            self.run = str(self.logger.version)

    def _open(self, step: int) -> Logger:
        place, title = self.folder.path, self.folder.path.name
        if self.name == "tensorboard":
            # What an interrupted run logged after its last checkpoint is logged again.
            return TensorBoardLogger(
                place, name=None, version="tensorboard", default_hp_metric=False,
                purge_step=step + 1 if step else None,
            )  # fmt: skip
        if self.name == "wandb":
            offline = "WANDB_MODE" not in os.environ
            return WandbLogger(
                title, save_dir=place, offline=offline, id=self.run, resume="allow",
                project="ssl-registry",
            )  # fmt: skip
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it reports usage otherwise
        # A tracking server, or a database, where the user has named one.
        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{place.resolve()}/mlflow.db"
        own = None if "MLFLOW_TRACKING_URI" in os.environ else (place.resolve() / "mlflow").as_uri()
        return MLFlowLogger(
            "ssl-registry", run_name=title, tracking_uri=uri, run_id=self.run, artifact_location=own
        )

    def on_epoch(self, row: Mapping[str, float], model: nn.Module) -> None:
        """Send the epoch's row, and pictures where it was validated."""
        if self.logger is None:
            return
        step = int(row["step"])
        self.logger.log_metrics({k: v for k, v in row.items() if k != "step"}, step)
        if self.pictures is not None and any(name.startswith("val_") for name in row):
            for name, picture in self.pictures().items():
                self._show(f"validation/{name}", picture, step)
        self.logger.save()

    def _show(self, name: str, picture: Picture, step: int) -> None:
        if isinstance(self.logger, TensorBoardLogger):
            self.logger.experiment.add_image(name, picture, step, dataformats="HWC")
        elif isinstance(self.logger, WandbLogger):
            self.logger.log_image(name, [picture], step)
        elif isinstance(self.logger, MLFlowLogger):
            key = name.replace("/", "-")
            self.logger.experiment.log_image(self.run, picture, key=key, step=step)

    def on_end(self) -> None:
        """Close the log; after an error as well."""
        if self.logger is None:
            return
        self.logger.finalize("success")
        if isinstance(self.logger, WandbLogger):
            self.logger.experiment.finish()

    def state_dict(self) -> dict[str, Any]:
        """Return which log it is."""
        return {"name": self.name, "run": self.run}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the log of the run that is resumed, if it is of the same library."""
        if state_dict["name"] == self.name:
            self.run = state_dict["run"]
