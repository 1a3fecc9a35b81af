"""The parts of a data set: what to measure on and, where a task learns, what to learn from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from twinlens.data.datasets import open_dataset, open_split
from twinlens.data.samples import Dataset, Lazy, Sample, mark, marks
from twinlens.data.sources.builtin import NAMES, SPLITS
from twinlens.data.sources.columns import Columns
from twinlens.data.sources.metadata_files import TYPE_FILE, check_named, read_type
from twinlens.data.sources.split_directories import splits_in
from twinlens.data.sources.split_names import split_of
from twinlens.errors import DataError
from twinlens.types import ProgressCallback, Split

_LISTED = 3

_Openers = dict[str, Callable[[], Dataset]]


@dataclass(frozen=True, kw_only=True)
class DatasetSplits:
    """A data set's parts, of the same classes. What is not asked for is not opened.

    Attributes:
        name: What to call the data set.
        test: What to measure on.
        train: What to learn from, if there is any.
        val: What to choose by, if there is any.
    """

    name: str
    test: Dataset
    train: Lazy[Dataset | None] = Lazy(None)  # noqa: RUF009  a descriptor
    val: Lazy[Dataset | None] = Lazy(None)  # noqa: RUF009


def open_splits(
    spec: str | Path,
    *,
    train: str | Path | None = None,
    val: str | Path | None = None,
    progress: ProgressCallback | None = None,
    columns: Columns | None = None,
) -> DatasetSplits:
    """Open a data set by its splits, or a whole one to measure on.

    Splits are known of: a directory with a folder `test` and perhaps `train` and `val` (or names
    like these, see `split_names`), of tars in CLIP_benchmark's layout, of a folder per class or of
    whatever else `open_dataset` reads, where `classnames.txt` and the prompts lie above the splits;
    `hf://datasets/org/name` whose files name them; `digits` and `fashion-mnist`. Anything else is
    measured on whole.

    `train` and `val` are opened when they are first asked for, and checked then.

    Args:
        spec: What `open_dataset` takes, or the above.
        train: What to learn from, a SPEC; by default the split `train`.
        val: What to choose by, a SPEC; by default the split `val` or `validation`.
        progress: Told of tars that are indexed.
        columns: Names of a table's columns, where they are others than the known ones.

    Raises:
        DataError: There is no such data set, or something in it is wrong; when `train` or `val` is
            asked for, also: its classes are others than those of `test`, or an image is in both.
        MissingExtraError: It needs a package that is not installed.
    """
    name, openers = _splits(str(spec), progress, columns)
    asked: tuple[tuple[Split, str | Path | None], ...] = (("train", train), ("val", val))
    for part, own in asked:
        if own is not None:
            openers[part] = partial(
                open_dataset, own, progress=progress, columns=columns, splits=(part, "test")
            )
    test = openers["test"]()
    name = name or test.name
    test = _named_classes(test, name)
    others = {
        part: partial(_open_beside, opener, test, part)
        for part, opener in openers.items()
        if part != "test"
    }
    return DatasetSplits(name=name, test=test, train=others.get("train"), val=others.get("val"))


def _splits(
    spec: str, progress: ProgressCallback | None, columns: Columns | None
) -> tuple[str, _Openers]:
    """Return the data set's name and openers of its splits; or, without a name, all as `test`."""
    path = Path(spec).expanduser()
    if spec and path.is_dir():
        name, openers = path.resolve().name, _split_openers(path, columns)
    else:
        name, specs = _named_splits(spec, path)
        openers = {part: partial(open_dataset, one, columns=columns) for part, one in specs.items()}
    if not openers:
        name, openers = "", {"test": partial(open_dataset, spec, columns=columns)}
    return name, {part: partial(opener, progress=progress) for part, opener in openers.items()}


def _split_openers(root: Path, columns: Columns | None) -> _Openers:
    """Return an opener of each split of a directory; none if it is one data set.

    Raises:
        DataError: There are splits but no `test`, or `dataset_type.txt` says something unknown.
    """
    parts = splits_in(root)
    if not parts:
        return {}
    if "test" not in parts:
        got = ", ".join(part.shown for part in parts.values())
        one = list(parts.values())[-1].spec
        raise DataError(f"{root}: got the splits {got}, expected 'test' among them; or give {one}")
    read_type(root / TYPE_FILE)
    return {split: partial(open_split, part, columns=columns) for split, part in parts.items()}


def _named_splits(spec: str, path: Path) -> tuple[str, dict[str, str]]:
    """The SPECs of a named data set's splits, or of one on the Hugging Face hub, by their parts."""
    if spec in NAMES and not path.exists():
        return spec, {split: f"{spec}/{split}" for split in SPLITS}
    if not spec.startswith("hf://datasets/") or "::" in spec:
        return "", {}
    from twinlens.data.sources.hub_datasets import splits_of  # noqa: PLC0415  only here

    repository, splits = splits_of(spec)
    parts = [(split_of(split.rpartition("/")[2]), split) for split in splits]
    found = {part: f"{spec.rstrip('/')}/{split}" for part, split in parts if part is not None}
    # Of several configurations with a split `test`, one is to be named.
    once = sum(part == "test" for part, _ in parts) == 1
    return repository, found if once and len(splits) > 1 else {}


def _named_classes(dataset: Dataset, name: str) -> Dataset:
    """The data set under another name, its classes checked once they are asked for."""

    def classnames() -> tuple[str, ...]:
        check_named(dataset.classnames, name)
        return dataset.classnames

    return replace(
        dataset, name=name, classnames=classnames, multi_label=lambda: dataset.multi_label
    )


def _open_beside(opener: Callable[[], Dataset], test: Dataset, part: str) -> Dataset:
    """A part that is no other data set than `test`, and shows other images."""
    other = opener()
    _check_classes(test, other, part)
    if (sample := _shared(test, other)) is not None:
        raise DataError(
            f"{test.name}: got {sample.where} in test and in {part}, expected it in one of them"
        )
    return replace(other, name=f"{test.name}/{part}", classnames=test.classnames)


def _check_classes(test: Dataset, other: Dataset, part: str) -> None:
    lacking = _named(test.classnames, other.classnames)
    more = _named(other.classnames, test.classnames)
    told = [f"without {lacking}"] * bool(lacking) + [f"with {more}"] * bool(more)
    if told:
        raise DataError(
            f"{test.name}: got {part} {' and '.join(told)}, expected the test's classes"
        )
    if test.multi_label != other.multi_label:
        raise DataError(
            f"{test.name}: got one label an image in test or in {part} alone, "
            "expected one in both or any number in both"
        )


def _named(names: tuple[str, ...], known: tuple[str, ...]) -> str:
    """The first few that are not known, and how many others."""
    unknown = sorted(set(names) - set(known))
    more = f" and {len(unknown) - _LISTED:,} others" if len(unknown) > _LISTED else ""
    return ", ".join(map(repr, unknown[:_LISTED])) + more


def _shared(one: Dataset, other: Dataset) -> Sample | None:
    """An image that is in both under one key, with the same bytes.

    What is cheap to know decides first: of tars no sample is looked at where no tar is in both.
    """
    known = {ascii(mark) for mark in marks(one.samples)}
    if not any(ascii(mark) in known for mark in marks(other.samples)):
        return None
    places = {ascii(mark(one.samples, place)): place for place in range(len(one.samples))}
    for place in range(len(other.samples)):
        mine = places.get(ascii(mark(other.samples, place)))
        if mine is not None:
            sample, second = one.samples[mine], other.samples[place]
            if sample.image_bytes() == second.image_bytes():
                return sample
    return None
