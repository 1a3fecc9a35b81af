"""Names in the order that their numbers give: what every reader must agree on."""

ORDERED: list[tuple[str, ...]] = [
    tuple(str(number) for number in range(12)),
    tuple(f"{number:02d}" for number in range(12)),
    tuple(f"class{number}" for number in (1, 2, 9, 10, 11, 100)),
    tuple(f"class_{number}" for number in (0, 5, 10, 20)),
    ("part1-2", "part1-10", "part2-1", "part10-1"),
    ("1", "01", "001", "2", "10"),
    ("a", "a2", "a10", "b", "b1"),
    ("img 9", "img 10", "img 11"),
    ("v1.9", "v1.10", "v2.0"),
    ("n01440764", "n01443537", "n10565667"),
    ("7", "1000000000000000000000", "20000000000000000000000"),
    ("0 - cat", "2 - dog", "10 - ant"),
    ("x-1", "x-2", "x-10"),
    ("2020-1-9", "2020-1-10", "2020-11-1"),
    ("A1", "A2", "A10", "a1"),
]
