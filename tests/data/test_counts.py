"""Counts by reason."""

from twinlens.data.left_out import LeftOut

LINK = "link that leads nowhere new"


def test_counts_as_json():
    left_out = LeftOut()
    for number in range(5):
        left_out.add("file of another kind", f"{number}.pdf")
    left_out.add(LINK, "a", count=7)
    again = LeftOut.from_json(left_out.as_json())
    assert again == left_out
    assert again.lines() == [
        "5 x file of another kind: 0.pdf, 1.pdf, 2.pdf, ...",
        f"7 x {LINK}: a, ...",
    ]
    assert again.total == 12
