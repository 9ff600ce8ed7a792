"""The answer to a name that nobody offers: what is near, and what to install for it."""

from collections.abc import Collection, Iterable
from typing import Final

from ssl_registry.entry import PluginReport
from ssl_registry.wording import did_you_mean, nearest

EXTRAS: Final[dict[str, tuple[str, ...]]] = {
    "contrast": tuple(
        f"{name}{dims}d" for name in ("byol", "local", "moco", "simclr") for dims in (2, 3)
    ),
    "cpc": ("cpc2d", "cpc3d"),
    "exemplar": ("exemplar2d", "exemplar3d"),
    "fusion": ("fusion2d", "fusion3d"),
    "genesis": ("genesis2d", "genesis3d"),
    "jigsaw": ("jigsaw2d", "jigsaw3d"),
    "masked": ("masked2d", "masked3d"),
    "monai": ("monai-basicunet3d", "monai-segresnet3d", "monai-swinunetr3d"),
    "nnunet": (
        "nnunet-plainconv2d",
        "nnunet-plainconv3d",
        "nnunet-resenc2d",
        "nnunet-resenc3d",
    ),
    "rotation": ("rotation2d", "rotation3d"),
    "rpl": ("place2d", "place3d", "rpl2d", "rpl3d"),
    "timm": ("timm",),
    "voco": ("voco2d", "voco3d"),
}
"""First-party extras and the names they bring, for the answer to an unknown name."""


def explain_unknown(
    name: str,
    offered: Collection[str],
    plugins: Iterable[PluginReport],
    broken: Collection[PluginReport],
) -> str:
    """Return the message for a name that nobody offers.

    Args:
        name: as somebody asked for it.
        offered: the names that there are.
        plugins: all that are installed.
        broken: plugins and components that could not be used.
    """
    extra_of = {brought: extra for extra, names in EXTRAS.items() for brought in names}
    message = f"there is no component named {name!r}."
    first, _, rest = name.lower().partition(":")
    bare = first if first in extra_of else rest or first
    if bare in extra_of and bare not in offered:
        owner = f"ssl-registry-{extra_of[bare]}"
        for report in plugins:
            if report.distribution == owner and report.status != "ok":
                return f"{message} It belongs to {owner}, which is out: {report.message}"
        return f"{message} It comes with: {_install(extra_of[bare])}"
    hints = [
        f"{match} ({_install(extra_of[match])})" if match not in offered else match
        for match in nearest(bare, set(offered) | set(extra_of))
    ]
    message += did_you_mean(hints)
    message += " `ssl-registry list` shows what is installed"
    if broken:
        left_out = ", ".join(report.distribution for report in broken)
        message += f"; left out as broken: {left_out} (`ssl-registry plugins` says why)"
    return f"{message}."


def _install(extra: str) -> str:
    return f'pip install "ssl-registry[{extra}]"'
