"""What the command line is asked that it cannot do: every path, list and number of every verb.

Plain data. A word in capitals stands for something that `tests/cli/test_wrong_values.py` makes:
MODEL and HEADLESS a model, IMAGE an image, IMAGES a directory of classes, LABELS a file of
labels, INDEX an index of images, NEW a name that is free, FILE a file, EMPTY a directory without
files, FULL a directory with one, MISSING a path of nothing, SEALED a directory that takes no files.
"""

ASKED: dict[str, list[str]] = {
    "classify": ["classify", "IMAGE", "--labels", "cat,dog", "--model", "MODEL"],
    "train": ["train", "--recipe", "icons-demo", "--data", "IMAGES", "--out", "NEW"],
    "plan": ["plan", "--recipe", "icons-demo"],
    "eval": ["eval", "MODEL", "--data", "IMAGES", "--cache-dir", "NEW"],
    "compare": ["compare", "FULL", "FULL"],
    "bench": ["bench", "MODEL", "--seconds", "0.01"],
    "convert": ["convert", "MODEL", "NEW"],
    "export": ["export", "MODEL", "NEW"],
    "interpolate": ["interpolate", "MODEL", "MODEL", "NEW"],
    "index": ["index", "IMAGES", "--out", "NEW", "--model", "MODEL"],
    "search": ["search", "a cat", "--index", "INDEX"],
    "data icons": ["data", "icons", "--preset", "small", "--out", "NEW"],
    "data index": ["data", "index", "IMAGES"],
}
"""Words that would do, but for what is put in the place of one of them."""

INPUTS: list[tuple[str, str]] = [
    ("classify", "--labels-file"),
    ("classify", "--model"),
    ("train", "--data"),
    ("train", "--val"),
    ("train", "--init"),
    ("plan", "--init"),
    ("eval", "--data"),
    ("bench", "MODEL"),
    ("convert", "MODEL"),
    ("export", "MODEL"),
    ("interpolate", "MODEL"),
    ("data index", "IMAGES"),
    ("classify", "IMAGE"),
    ("index", "IMAGES"),
    ("index", "--model"),
    ("index", "--remove"),
    ("search", "--index"),
    ("search", "--image"),
    ("search", "--queries"),
    ("search", "--model"),
]
"""What is read: an option that is added or replaced, or a word of `ASKED` that is replaced."""

WRONG_INPUTS = ["", " ", "MISSING", "EMPTY"]

NEW_DIRECTORIES: list[tuple[str, str]] = [
    ("convert", "NEW"),
    ("export", "NEW"),
    ("interpolate", "NEW"),
]
DIRECTORIES: list[tuple[str, str]] = [
    ("train", "--out"),
    ("eval", "--out"),
    ("eval", "--cache-dir"),
    ("compare", "--out"),
    ("data icons", "--out"),
    ("data icons", "--cache"),
    ("index", "--out"),
]
FILES: list[tuple[str, str]] = [("bench", "--out"), ("bench", "--html"), ("search", "--html")]

WRONG_DIRECTORIES = ["", " ", "FILE", "FILE/below", "SEALED/below/it"]
WRONG_NEW_DIRECTORIES = [*WRONG_DIRECTORIES, "FULL"]
WRONG_FILES = ["", " ", "EMPTY", "FULL", "FILE/below", "SEALED/below/it"]

NUMBERS: dict[tuple[str, str], list[str]] = {
    ("classify", "--top"): ["", "x", "0", "-1", "1.5"],
    ("train", "--workers"): ["", "x", "-1", "1.5", "100000"],
    ("plan", "--mfu"): ["", "x", "0", "-1", "1.1", "nan", "inf"],
    ("plan", "--price-per-hour"): ["", "x", "-1", "nan", "inf"],
    ("plan", "--caption-tokens"): ["", "x", "0", "-1", "nan", "inf"],
    ("plan", "--sample-kb"): ["", "x", "0", "-1", "nan", "inf"],
    ("eval", "--seeds"): ["", "x", "0", "-1", "1.5", "1000000000"],
    ("eval", "--shots"): ["", "x", "0", "-1", "1,,x", "1.5"],
    ("bench", "--batch"): ["", ",", "x", "0", "-1", "1,x", "1000000000"],
    ("bench", "--seconds"): ["", "x", "0", "-1", "nan", "inf"],
    ("bench", "--price-per-hour"): ["", "x", "0", "-1", "nan", "inf"],
    ("convert", "--image-size"): ["", "x", "0", "-1", "1.5", "1000000000"],
    ("interpolate", "--weight"): ["", "x", "-1", "1.1", "nan", "inf"],
    ("data icons", "--workers"): ["", "x", "0", "-1", "1.5", "100000"],
    ("search", "--top"): ["", "x", "0", "-1", "1.5", "10000000"],
    ("search", "--page"): ["", "x", "0", "-1", "1.5", "10000000"],
    ("search", "--min-score"): ["", "x", "2", "-1.1", "nan", "inf"],
    ("data index", "--workers"): ["", "x", "0", "-1", "1.5", "100000"],
}

LISTS: list[tuple[str, str, str]] = [
    ("classify", "--labels", ""),
    ("classify", "--labels", ","),
    ("classify", "--labels", " , "),
    ("classify", "--template", ""),
    ("classify", "--device", ""),
    ("classify", "--engine", ""),
    ("classify", "--engine", "onnx"),
    ("classify", "--device", "gpu9"),
    ("train", "--set", ""),
    ("train", "--set", "steps"),
    ("train", "--set", "steps="),
    ("train", "--set", "=1"),
    ("train", "--recipe", ""),
    ("plan", "--recipe", ""),
    ("plan", "--set", "steps"),
    ("train", "--track", ""),
    ("train", "--track", "nobody"),
    ("train", "--template", ""),
    ("train", "--device", ""),
    ("plan", "--devices", ""),
    ("plan", "--devices", "x"),
    ("plan", "--devices", "0xA100-80"),
    ("eval", "--template", ""),
    ("eval", "--language", ""),
    ("eval", "--task", ""),
    ("eval", "--train", ""),
    ("eval", "--val", ""),
    ("eval", "--shifted", ""),
    ("eval", "--corruptions", ""),
    ("eval", "--baseline", ""),
    ("eval", "--reference", ""),
    ("eval", "--device", ""),
    ("bench", "--engine", ""),
    ("bench", "--engine", "onnx"),
    ("eval", "--engine", ""),
    ("eval", "--precision", ""),
    ("eval", "--decode", ""),
    ("train", "--image-column", ""),
    ("train", "--text-column", ""),
    ("train", "--separator", ""),
    ("train", "--separator", "ab"),
    ("eval", "--image-column", ""),
    ("eval", "--text-column", ""),
    ("eval", "--separator", ""),
    ("eval", "--separator", "ab"),
    ("bench", "--precision", ""),
    ("bench", "--precision", ","),
    ("bench", "--compare", ""),
    ("bench", "--device", ""),
    ("convert", "--to", ""),
    ("convert", "--activation", ""),
    ("export", "--format", ""),
    ("export", "--precision", ""),
    ("export", "--towers", ""),
    ("index", "--engine", ""),
    ("index", "--device", ""),
    ("index", "--out", "FULL"),
    ("search", "a cat", ""),
    ("search", "a cat", " "),
    ("search", "--mix", ""),
    ("search", "--mix", "cat:1,:2"),
    ("search", "--not", ""),
    ("search", "--where", ""),
    ("search", "--where", "width >"),
    ("search", "--where", "widht > 5"),
    ("search", "--engine", ""),
    ("search", "--device", ""),
    ("data icons", "--preset", ""),
    ("data icons", "--set", ""),
    ("data icons", "--set", "size"),
]
