"""Prompt ensembles (paper section 3.1.4): one unit vector a class from several templates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from twinlens.embed.labels import list_strings
from twinlens.errors import ConfigError, require

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinlens.types import Embeddings

_MAX_PROMPTS_IN_MEMORY = 100_000
"""Prompts whose embeddings are in memory at a time."""


def prompt_ensemble(
    embed_texts: Callable[[list[str]], Embeddings],
    classnames: Sequence[str],
    templates: Sequence[str],
) -> NDArray[np.float32]:
    """Average the embeddings of each class's prompts: float32 [class, embed], unit length.

    Args:
        embed_texts: Embeds texts.
        classnames: The classes, at least one.
        templates: Sentences with `{}` where the class goes.

    Raises:
        ConfigError: There is no template, or one has no `{}`.
        DataError: The templates or the classes are no list of strings.
    """
    templates = list_strings("templates", templates)
    for template in templates:
        require("{}" in template, "template", template, "{} where the label goes")
    if not templates:
        raise ConfigError("templates: got none, expected at least one such as 'a photo of {}'")
    classnames = list_strings("classnames", classnames)
    step = max(1, _MAX_PROMPTS_IN_MEMORY // len(templates))
    parts = [classnames[i : i + step] for i in range(0, len(classnames), step)]
    means = np.concatenate([_mean_embeddings(embed_texts, part, templates) for part in parts])
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def _mean_embeddings(
    embed_texts: Callable[[list[str]], Embeddings],
    classnames: Sequence[str],
    templates: Sequence[str],
) -> NDArray[np.float32]:
    prompts = [template.replace("{}", name) for name in classnames for template in templates]
    embeddings = embed_texts(prompts)
    return embeddings.reshape(len(classnames), len(templates), -1).mean(axis=1)
