"""What is cheap stays cheap: nothing heavy is imported before somebody needs it."""

import subprocess
import sys

import pytest

import ssl_registry

HEAVY = {
    "torchvision",
    "sklearn",
    "torch",
    "pydantic",
    "torchio",
    "lightning",
    "numpy",
    "matplotlib",
    "nibabel",
    "rich",
}


def modules_after(code: str) -> set[str]:
    """Return the top-level modules that a new process holds after running `code`."""
    show = f"{code}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import ssl_registry",
        "from ssl_registry import Entry, hookimpl, API_VERSION",
        "from ssl_registry import errors",
        "from ssl_registry import registry\nregistry.entries()",
        "from ssl_registry import registry\nregistry.plugins(); registry.failures()",
        "from ssl_registry import registry\nregistry.find('unet3d')",
        "from ssl_registry import registry\ntry: registry.get('no_such')\nexcept LookupError: pass",
        "import ssl_registry\ndir(ssl_registry)",
    ],
)
def test_nothing_heavy_is_imported(code: str) -> None:
    assert modules_after(code) & HEAVY == set()


def test_the_list_waits_for_no_parser_of_options() -> None:
    """Typer loads pydantic to read a word; `list` alone has none to read."""
    code = "import sys; sys.argv[1:] = ['list']\nfrom ssl_registry.cli import main; main()"
    assert modules_after(code) & (HEAVY - {"rich"} | {"typer"}) == set()


def test_installed_plugins_are_looked_for_when_somebody_asks() -> None:
    """Reading the metadata of what is installed costs more than all the rest of the import."""
    code = (
        "import sys\nbefore = set(sys.modules)\nimport ssl_registry\n"
        "assert 'importlib.metadata' not in set(sys.modules) - before\n"
        "assert ssl_registry.registry.entries()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_component_brings_what_it_needs() -> None:
    assert {"torch", "pydantic"} <= modules_after(
        "from ssl_registry import registry\nregistry.get('unet3d')"
    )


@pytest.mark.parametrize("name", ssl_registry.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    assert getattr(ssl_registry, name) is not None
    assert name in dir(ssl_registry)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        _ = ssl_registry.no_such_name


@pytest.mark.parametrize(
    "first",
    [
        "import ssl_registry.registry",
        *(
            pytest.param(code, marks=pytest.mark.long)
            for code in ("import ssl_registry.testing", "from ssl_registry import *")
        ),
    ],
)
def test_registry_is_the_registry_and_never_its_module(first: str) -> None:
    code = f"{first}\nfrom ssl_registry import registry\nregistry.find('unet3d')"
    assert "ssl_registry" in modules_after(code)
