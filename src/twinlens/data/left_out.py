"""The parts of a data set that are left out: counted by reason, with a few examples of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from twinlens.errors import DataError

NO_CAPTION = "image without a caption"
NO_IMAGE = "caption without an image"
MISSING = "image file that is missing"
OTHER = "file of another kind"
LINK = "link that leads nowhere new"
TWICE = "file named twice in a tar, of which the last is used"
FURTHER = "further image of a sample, of which the first is used"
FURTHER_TEXT = "further text of a sample, of which one is used"

EXAMPLES = 3
"""Number of names that are kept for a reason: enough to look at, cheap to store with a tar."""


@dataclass(slots=True)
class LeftOut:
    """Files and samples that are not used, or used without a part of what they say.

    Attributes:
        counts: How many there are of each reason, in the order they were met.
        examples: The first few names of each reason.

    Example:
        >>> left_out = LeftOut()
        >>> left_out.add("image without a caption", "a.jpg")
        >>> left_out.add("image without a caption", "b.jpg")
        >>> left_out.lines()
        ['2 x image without a caption: a.jpg, b.jpg']
    """

    counts: dict[str, int] = field(default_factory=dict[str, int])
    examples: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    def add(self, reason: str, example: str, count: int = 1) -> None:
        """Count one more, or several of which one is named."""
        self.counts[reason] = self.counts.get(reason, 0) + count
        named = self.examples.setdefault(reason, [])
        if len(named) < EXAMPLES and example not in named:
            named.append(example)

    def merge(self, other: LeftOut) -> None:
        """Take in what another part of the data leaves out."""
        for reason, count in other.counts.items():
            self.counts[reason] = self.counts.get(reason, 0) + count
            named = self.examples.setdefault(reason, [])
            new = [example for example in other.examples[reason] if example not in named]
            named += new[: EXAMPLES - len(named)]

    @property
    def total(self) -> int:
        """The number of all reasons' files and samples."""
        return sum(self.counts.values())

    def lines(self) -> list[str]:
        """A line for each reason: how many, why, and examples."""
        return [
            f"{count:,} x {reason}: {', '.join(self.examples[reason])}"
            f"{', ...' if count > len(self.examples[reason]) else ''}"
            for reason, count in self.counts.items()
        ]

    def refuse(self, name: str) -> None:
        """Make sure that nothing is left out of a data set.

        Raises:
            DataError: Something is; the message has every reason.
        """
        if self.total:
            raise DataError(
                f"{name}: got data of which a part is left out, expected none with --strict: "
                f"{'; '.join(self.lines())}"
            )

    def as_json(self) -> dict[str, Any]:
        """`{reason: {"count": n, "examples": [...]}}`."""
        return {
            reason: {"count": count, "examples": list(self.examples[reason])}
            for reason, count in self.counts.items()
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> LeftOut:
        """Return the inverse of `as_json`."""
        counts = {reason: int(one["count"]) for reason, one in content.items()}
        return cls(counts, {reason: list(one["examples"]) for reason, one in content.items()})


def joined(parts: Iterable[LeftOut]) -> LeftOut:
    """Return the counts of several parts as one."""
    whole = LeftOut()
    for part in parts:
        whole.merge(part)
    return whole
