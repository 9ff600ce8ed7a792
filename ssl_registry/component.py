"""Components: hyper-parameters as frozen values, mathematics as methods."""

import difflib
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from ssl_registry.errors import SslRegistryError


class Component(BaseModel):
    """Anything that can be registered.

    The fields are its hyper-parameters, so a component is validated, hashable,
    picklable, prints itself, and turns into JSON and back. It holds no weights: it
    builds the `nn.Module`s that do.
    """

    spatial_dims: ClassVar[Literal[2, 3]]

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


def explain(error: ValidationError, owner: str, known: tuple[str, ...]) -> str:
    """Turn pydantic's report into a line for each field: where, what, and what to do.

    Args:
        error: what pydantic raised.
        owner: whose fields they are, for instance `"rpl3d"` or `"pretrain"`.
        known: the field names there are, to suggest near ones.
    """
    lines = []
    for problem in error.errors(include_url=False):
        cause = problem.get("ctx", {}).get("error")
        if isinstance(cause, SslRegistryError):  # already in words for the user
            lines.append(str(cause))
            continue
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(where, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the fields are: {', '.join(known)}"
            lines.append(f"{owner} has no field {where!r}; {hint}")
        elif problem["type"] == "missing":
            lines.append(f"{owner} needs the field {where!r}")
        else:
            what = problem["msg"].removeprefix("Value error, ")
            place = f"{owner}: {where}={problem['input']!r}: " if where else f"{owner}: "
            lines.append(place + what)
    return "\n".join(lines)
