"""Malformed files, each tried in one process whose memory is bounded."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def outcomes_in(module: str, folder: Path) -> dict[str, dict[str, Any]]:
    """Return what a module of the tests says of each entry, by its name; of `""` how it ended.

    Args:
        module: prints a JSON object with a `name` for each entry that it has tried.
        folder: where it may write.
    """
    done = subprocess.run(
        [sys.executable, "-m", module, str(folder)],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    found = {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}
    return {
        **found,
        "": {"end": f"the process ended with {done.returncode}: {done.stderr[-2000:]}"},
    }
