"""Names of splits as data sets have them, and roots that have other folders."""

SPLITS: dict[str, tuple[str, ...]] = {
    "train": ("train", "Train", "TRAIN", "training", "train2017", "train_set", "trainset"),
    "val": ("val", "valid", "validation", "validate", "dev", "Validation", "val2017", "valid_set"),
    "test": ("test", "testing", "eval", "evaluation", "Test", "test2017", "test_set"),
}
"""What each split may be called."""

ROOTS: list[tuple[str, ...]] = [
    ("train", "valid"),
    ("train", "test"),
    ("train", "val", "test"),
    ("training", "validation"),
    ("training", "testing"),
    ("train", "dev"),
    ("train", "validate"),
    ("train", "eval"),
    ("Train", "Valid", "Test"),
    ("train2017", "val2017"),
    ("dev", "test"),
    ("train",),
    ("valid",),
]
"""Roots that are never classes of these names."""

CLASSES: list[tuple[str, ...]] = [
    ("bus", "car", "train"),
    ("plane", "train"),
    ("exam", "test", "quiz"),
    ("trainer", "sneaker"),
    ("devil", "angel"),
    ("valley", "mountain"),
    ("evaluate", "measure"),
    ("trains", "planes"),
]
"""Roots whose folders hold images and are classes, though one may be called as a split is."""
