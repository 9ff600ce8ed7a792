"""What a plugin declares about a component before anything heavy is imported."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

API_VERSION = 1
"""The version of the interfaces between this core and its plugins.

A plugin's hook module may say `API_VERSION = 1`, as a literal, for the version it was
written against. One that says nothing is taken to have been written for this one.
"""

Kind = Literal["pretext", "backbone", "downstream"]

KINDS: Final[Mapping[Kind, str]] = {
    "pretext": "pretext task",
    "backbone": "backbone",
    "downstream": "downstream task",
}
"""What people call the kinds of components."""

Trait = Literal["dense", "global", "decoder", "batch"]

TRAITS: Final[Mapping[Trait, str]] = {
    "dense": "asks voxel by voxel, for segmentation",
    "global": "asks for the whole image, for grading",
    "decoder": "trains a decoder, which fine-tuning can start from",
    "batch": "needs several images in a batch",
}
"""What a pretext task may be good for, and may need."""

NAME = re.compile(r"[a-z][a-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class FormerName:
    """A name that a component had in an older release.

    Args:
        name: the old name; it is found, with a warning, and not listed.
        until: version of the distribution, such as `"0.3"`, from which on it is not found.
    """

    name: str
    until: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One component on offer.

    Args:
        name: lower-case name in the one flat namespace, such as `"rpl3d"`.
        target: `"package.module:Class"`, imported on first `registry.get`; or the class.
        dims: 2 for images `[B, C, H, W]`, 3 for volumes `[B, C, D, H, W]`; None where the fields
            of a component say it, as those that are made of others do.
        summary: one line for `ssl-registry list`.
        argument: field that `name:value` sets, where one component stands for many networks:
            with `argument="model"`, `timm:resnet18` is `timm` with `model="resnet18"`.
        formerly: names it had before, which older files still say.
        family: of a pretext task, a word for what its question is about: `context`, `contrast`,
            `restoration`, or one of your own.
        traits: of a pretext task, of `TRAITS`: what it is good for, and what it needs.
        kind: which interface it implements; set by the registry from the hook.
        distribution: the distribution that offers it; set by the registry.
        version: that distribution's version; set by the registry.
    """

    name: str
    target: str | type
    dims: int | None
    summary: str = ""
    argument: str = ""
    formerly: tuple[FormerName, ...] = field(default=(), kw_only=True)
    family: str = field(default="", kw_only=True)
    traits: tuple[Trait, ...] = field(default=(), kw_only=True)
    kind: Kind = field(default="pretext", kw_only=True)
    distribution: str = field(default="", kw_only=True)
    version: str = field(default="", kw_only=True)

    @property
    def qualified_name(self) -> str:
        """`distribution:name`, which is never ambiguous."""
        return f"{self.distribution}:{self.name}"

    @property
    def spelt_dims(self) -> str:
        """`2D`, `3D`, or both."""
        return "2D, 3D" if self.dims is None else f"{self.dims}D"

    def as_json(self) -> dict[str, str | int | list[str] | None]:
        """Return what `ssl-registry list --json` says; these keys stay as they are."""
        return {
            "name": self.name,
            "kind": self.kind,
            "dims": self.dims,
            "summary": self.summary,
            "family": self.family,
            "traits": [*self.traits],
            "distribution": self.distribution,
            "version": self.version,
            "qualified_name": self.qualified_name,
        }


@dataclass(frozen=True, slots=True)
class PluginReport:
    """One installed plugin: what it offers, or why it could not be used.

    `status` is `"ok"`, `"failed"` or `"disabled"`; `error` holds the cause of a failure.
    """

    distribution: str
    version: str
    entry_point: str
    status: Literal["ok", "failed", "disabled"]
    message: str = ""
    names: tuple[str, ...] = ()
    error: BaseException | None = None
