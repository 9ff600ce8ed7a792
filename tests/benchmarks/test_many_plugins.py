"""How much fifty installed plugins add to `ssl-registry list`.

    pytest tests/benchmarks/test_many_plugins.py --benchmark-enable --benchmark-only

The difference of the two means, divided by fifty, is what one plugin costs.
"""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Site

PLUGINS = 50
PROGRAM = str(Path(sysconfig.get_path("scripts")) / "ssl-registry")
HEAVY = "import torch\nraise AssertionError('a component was imported to be listed')\n"

pytestmark = pytest.mark.benchmark(group=f"ssl-registry list, without and with {PLUGINS} plugins")


def install_many(site: "Site") -> None:
    """Install plugins of two components each, whose modules must not be imported."""
    for number in range(PLUGINS):
        heavy = site.add_module(f"fake_heavy_{number}", HEAVY)
        entries = [
            f'Entry("{name}{number}-3d", "{heavy}:Task", dims=3, summary="Number {number}")'
            for name in ("turn", "tile")
        ]
        site.offer(f"many-{number}", f"[{', '.join(entries)}]")


def listing(site: "Site") -> str:
    environment = {**os.environ, "PYTHONPATH": str(site.folder)}
    done = subprocess.run(
        [PROGRAM, "list"], capture_output=True, text=True, check=True, env=environment
    )
    return done.stdout


def test_fifty_plugins_are_listed_and_none_of_their_components_imported(site: "Site") -> None:
    install_many(site)
    shown = listing(site)
    assert [n for n in range(PLUGINS) if f" turn{n}-3d " not in shown] == []
    code = (
        "from ssl_registry import registry\nimport sys\n"
        f"assert len([e for e in registry.entries() if e.name.endswith('-3d')]) == {2 * PLUGINS}\n"
        "assert not registry.failures()\n"
        "print(*[name for name in sys.modules if 'heavy' in name or name == 'torch'])"
    )
    environment = {**os.environ, "PYTHONPATH": str(site.folder)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.split() == []


@pytest.mark.parametrize("plugins", [0, PLUGINS])
def test_list(benchmark: Any, site: "Site", plugins: int) -> None:
    if plugins:
        install_many(site)
    shown = benchmark.pedantic(listing, args=(site,), rounds=10, warmup_rounds=2)
    assert ("turn7-3d" in shown) == bool(plugins)
