"""What a new pretext task begins as: a question, a dense task, a contrast or a bare model."""

from typing import Final, Literal, TypeAlias

from ssl_registry.entry import Kind
from ssl_registry.errors import ConfigError
from ssl_registry.wording import did_you_mean, nearest

Style: TypeAlias = Literal["question", "dense", "contrast", "model"]
"""How a pretext task is written."""

SUMMARIES: Final[dict[Style, str]] = {
    "question": "Along which axis was the {image} mirrored, if at all?",
    "dense": "What was in the blocks of the {image} that are hidden?",
    "contrast": "Which of many embeddings did a slow copy make of the same {image}?",
    "model": "How bright is the {image}, and how much does it vary, beneath the noise?",
}
"""What the task of each style asks."""


def read_style(said: str | None, kind: Kind) -> Style:
    """Return the style of a new plugin's pretext task; a question where nothing is said.

    Raises:
        ConfigError: there is no such style, or the component is not a pretext task.
    """
    if said is None:
        return "question"
    if kind != "pretext":
        raise ConfigError(
            f"--style {said} is for pretext tasks: leave it out with --kind {kind}, or use "
            "--kind pretext"
        )
    for known in SUMMARIES:
        if known == said:
            return known
    hint = did_you_mean(nearest(said, SUMMARIES))
    raise ConfigError(f"--style {said} is none of {', '.join(SUMMARIES)}.{hint}")
