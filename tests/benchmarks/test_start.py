"""How long one waits for the first answer, beside starting Python and beside importing torch.

pytest tests/benchmarks/test_start.py --benchmark-enable --benchmark-only
"""

import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

PROGRAM = str(Path(sysconfig.get_path("scripts")) / "ssl-registry")
COMMANDS = {
    "python alone": [sys.executable, "-c", "pass"],
    "import ssl_registry": [sys.executable, "-c", "import ssl_registry"],
    "ssl-registry list": [PROGRAM, "list"],
    "import torch": [sys.executable, "-c", "import torch"],
}

pytestmark = pytest.mark.benchmark(group="until the first answer")


@pytest.mark.parametrize("name", COMMANDS)
def test_start(benchmark: Any, name: str) -> None:
    done = benchmark.pedantic(
        subprocess.run,
        args=(COMMANDS[name],),
        kwargs={"capture_output": True},
        rounds=10,
        warmup_rounds=1,
    )
    assert done.returncode == 0
