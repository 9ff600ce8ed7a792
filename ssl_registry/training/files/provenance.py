"""What a run was made with: versions of the distributions."""

from importlib.metadata import version

import torch

from ssl_registry.component import Component
from ssl_registry.registry import registry


def versions_of(*components: Component) -> dict[str, str]:
    """Return the versions of the core, of the plugins that offer the components, and of torch.

    A component that was registered in this process alone has the version "".
    """
    plugins = {entry.distribution: entry.version for entry in map(registry.entry_of, components)}
    libraries = {"torch": str(torch.__version__), "torchio": version("torchio")}
    return {"ssl-registry": version("ssl-registry"), **dict(sorted(plugins.items())), **libraries}
