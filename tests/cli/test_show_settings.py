"""`ssl-registry show pretrain`: every setting, with type, default and meaning."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from ssl_registry import registry
from ssl_registry.cli.app import app
from ssl_registry.cli.settings_page import COMMANDS, settings_of
from ssl_registry.errors import UnknownComponentError


def ask(*words: str) -> str:
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    return done.output


def fields_of(command: str) -> dict[str, Any]:
    said = json.loads(ask("show", command, "--json"))
    return {field["name"]: field for field in said["fields"]}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_setting_is_listed_with_type_default_and_meaning(command: str) -> None:
    fields = {
        field["name"]: field for field in json.loads(ask("show", command, "--json"))["fields"]
    }
    firsts = {name.partition(".")[0] for name in fields}
    assert firsts == set(settings_of(command).model_fields)
    assert all(field["type"] and field["description"] for field in fields.values())
    assert fields["out"]["required"]
    above = "finetune." if command == "efficiency" else ""
    assert fields[f"{above}optimizer"]["type"] == "'adam' | 'adamw' | 'sgd'"
    assert fields[f"{above}optimizer"]["default"] == "adamw"
    assert fields[f"{above}warmup"]["bounds"] == {"ge": 0, "le": 1}
    assert "preprocessing.spacing" in fields


def test_a_misspelt_command_is_suggested() -> None:
    done = CliRunner().invoke(app, ["show", "pretrian"])
    assert isinstance(done.exception, SystemExit | UnknownComponentError)
    assert "ssl-registry show pretrain" in done.output + str(done.exception)


def test_what_has_a_default_that_is_no_one_value_is_not_called_required() -> None:
    fields = {
        field["name"]: field for field in json.loads(ask("show", "pretrain", "--json"))["fields"]
    }
    assert not fields["backbone"]["required"]
    assert fields["backbone"]["otherwise"] == "unet2d or unet3d"
    assert fields["task"]["type"] == "pretext task"


TAKES_SETTINGS = {
    **{command: command for command in COMMANDS},
    "plan": "pretrain",
    "preview": "finetune",
    "probe": "finetune",
    "split": "pretrain",
}
"""Commands that take settings as words, and the list in which these are."""


@pytest.mark.parametrize(("command", "shown"), TAKES_SETTINGS.items())
def test_help_says_where_the_settings_are(
    command: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    said = " ".join(ask(command, "--help").replace("\u2502", " ").split())
    assert f"ssl-registry show {shown}" in said
    assert "config.yaml" not in said


def test_a_component_that_is_called_like_a_command_is_not_hidden(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Pretrain(type(registry.create("rotation3d"))):  # type: ignore[misc]
        """Called like a command."""

    monkeypatch.setattr(registry, "_registered", {})
    registry.register(Pretrain, name="pretrain")
    said = ask("show", "pretrain")
    assert "learning_rate" in said
    assert "ssl-registry show in-process:pretrain" in said
    assert "Called like a command" in ask("show", "in-process:pretrain")
