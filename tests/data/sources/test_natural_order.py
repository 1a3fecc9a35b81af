"""The key that names are ordered by."""

import random

import pytest

from tests.data.cases_order import ORDERED
from twinlens.data.sources.natural_order import natural_key


@pytest.mark.parametrize("names", ORDERED, ids=lambda names: " ".join(names)[:30])
def test_the_key_itself(names: tuple[str, ...]):
    for seed in range(5):
        others = list(names)
        random.Random(seed).shuffle(others)
        assert tuple(sorted(others, key=natural_key)) == names


def test_numbers_of_thousands_of_digits():
    many = "9" * 10_000
    assert sorted([f"a{many}1", f"a{many}", "a10"], key=natural_key)[0] == "a10"
    assert natural_key("²") > natural_key("9")  # a digit of other kinds is a letter as any


def test_paths_are_ordered_folder_by_folder():
    paths = ["a/2.png", "a/10.png", "a/b/1.png", "a2/1.png", "a2.b/1.png", "a10/1.png", "b.png"]
    for seed in range(5):
        others = list(paths)
        random.Random(seed).shuffle(others)
        assert sorted(others, key=natural_key) == paths
