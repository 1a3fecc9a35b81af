"""What differs is told in few words, and nothing of it is left out."""

import re

import pytest

from twinlens import presets
from twinlens.checkpoints.expected_weights import expected_weights
from twinlens.checkpoints.mismatch import brace_patterns, describe_mismatch

NAMES = {
    name: list(expected_weights(getattr(presets, name)()))
    for name in ("vit_b_32", "vit_l_14", "rn50", "rn50x64", "icons_tiny")
}


def expanded(pattern: str) -> list[str]:
    """As a shell expands braces, and commas among the ranges too."""
    first = re.search(r"\{([^{}]*)\}", pattern)
    if first is None:
        return [pattern]
    choices: list[str] = []
    for part in first[1].split(","):
        low, dots, high = part.partition("..")
        choices += map(str, range(int(low), int(high) + 1)) if dots else [part]
    before, after = pattern[: first.start()], pattern[first.end() :]
    return [name for choice in choices for name in expanded(before + choice + after)]


@pytest.mark.parametrize(
    "names",
    [
        *NAMES.values(),
        ["a", "a.0", "a.1", "a.01", "b0c.weight", "weight", "bias", ".bias", "1", "2", "", "x.x"],
        ["a.0.b.0.c", "a.0.b.1.c", "a.1.b.0.c", "a.3.b.0.c", "a.3.b.1.c", "a.5.weight"],
        [f"{2**80}.{n}" for n in range(3)],
        [],
    ],
)
def test_patterns_tell_exactly_the_names(names: list[str]):
    told = [name for pattern in brace_patterns(names) for name in expanded(pattern)]
    assert sorted(told) == sorted(names)


def test_another_architecture_is_told_in_a_line_one_can_read():
    here, there = NAMES["rn50x64"], NAMES["vit_l_14"]
    missing = [name for name in here if name not in there]
    unexpected = [name for name in there if name not in here]
    told = describe_mismatch(missing, unexpected, {})
    assert len(told) < 2000
    assert f"({len(missing)} tensors); unexpected image_tower.class_embedding, " in told
    assert "image_tower.transformer.blocks.{0..23}.{attention_norm,attention.qkv," in told


def test_shapes_that_differ_alike_are_told_together():
    shapes = {f"blocks.{n}.norm.weight": ([512], [768]) for n in range(12)}
    told = describe_mismatch([], [], {**shapes, "scale": ([1], [])})
    assert told == (
        "blocks.{0..11}.norm.weight (12 tensors) is [512] instead of [768]; "
        "scale is [1] instead of []"
    )
    assert describe_mismatch([], [], {}) == ""
