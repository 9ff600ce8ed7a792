"""Whatever a handed `encoder.json` or `model.json` may set has an upper bound."""

from collections.abc import Iterator
from typing import Any

import pytest

from ssl_registry import registry
from ssl_registry.errors import ConfigError

BUILT = [entry.name for kind in ("backbone", "downstream") for entry in registry.entries(kind=kind)]
"""Components that are made, and build networks, when such a file is read."""


def unbounded(name: str, schema: dict[str, Any], definitions: dict[str, Any]) -> Iterator[str]:
    """Yield the whole numbers and lists of a JSON schema that may be as large as one likes."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    if schema.get("type") == "integer" and not {"maximum", "exclusiveMaximum"} & set(schema):
        yield name
    if schema.get("type") == "array":
        if "maxItems" not in schema:
            yield f"{name} (its length)"
        for inner in [*schema.get("prefixItems", []), *filter(None, [schema.get("items")])]:
            yield from unbounded(name, inner, definitions)
    for inner in [*schema.get("anyOf", []), *schema.get("oneOf", [])]:
        yield from unbounded(name, inner, definitions)
    for key, inner in schema.get("properties", {}).items():
        yield from unbounded(f"{name}.{key}", inner, definitions)


@pytest.mark.parametrize("name", BUILT)
def test_every_number_and_list_that_a_file_may_set_is_bounded(name: str) -> None:
    schema = registry.get(name).model_json_schema()
    found = unbounded(name, {**schema, "$defs": {}}, schema.get("$defs", {}))
    assert sorted(set(found)) == []


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "unet3d", "base_filters": 10**4},
        {"name": "densenet121", "growth": 10**4},
        {"name": "monai-segresnet3d", "blocks_down": [1] * 10**4},
        {"name": "monai-segresnet3d", "blocks_down": [10**9]},
        {"name": "monai-segresnet3d", "init_filters": 2**20},
        {"name": "monai-basicunet3d", "features": [4, 4, 8, 8, 10**9]},
        {"name": "monai-swinunetr3d", "depths": [10**9, 1, 1, 1]},
        {"name": "monai-swinunetr3d", "window_size": 100},
        {"name": "monai-swinunetr3d", "feature_size": 12 * 10**6},
        {"name": "timm", "model": "hf_hub:somebody/model"},
        {"name": "timm", "model": "local-dir:/tmp"},
    ],
    ids=str,
)
def test_what_lies_beyond_is_refused_before_anything_is_built(spec: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        registry.create(spec)
