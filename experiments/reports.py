"""What experiments leave: figures as JSON with what they depend on, and plots."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinlens.files import atomic_write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0b62a4", "#d1495b", "#2e8b57", "#7a5195", "#c98a00", "#555555")


def facts(corpus: Path) -> dict[str, Any]:
    """What figures depend on: machine, versions, corpus."""
    manifest = json.loads((corpus / "manifest.json").read_text(encoding="utf-8"))
    return {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, one used",
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("twinlens", "torch", "numpy")},
        "corpus": manifest["fingerprint"],
    }


def write_result(result: Mapping[str, Any], out: Path) -> None:
    """As JSON."""
    out.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(json.dumps(result, indent=1) + "\n", out)
    print(f"wrote {out}")


def axes(xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    """An empty plot in the experiments' style."""
    figure, (axis,) = panels(xlabel, ylabel)
    return figure, axis


def panels(xlabel: str, *ylabels: str) -> tuple[Figure, list[Axes]]:
    """One empty plot for each label, side by side."""
    import matplotlib as mpl  # noqa: PLC0415  # results can be made where it is not installed

    mpl.use("svg")
    mpl.rcParams |= {
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": "#e4e4e4",
        "axes.axisbelow": True,
        "legend.frameon": False,
        "svg.hashsalt": "twinlens",
        "svg.fonttype": "none",
    }
    from matplotlib import pyplot as plt  # noqa: PLC0415

    count = len(ylabels)
    width = 6.4 if count == 1 else 4.6 * count
    figure, grid = plt.subplots(1, count, figsize=(width, 4.0), layout="constrained", squeeze=False)
    for axis, ylabel in zip(grid[0], ylabels, strict=True):
        axis.set(xlabel=xlabel, ylabel=ylabel)
    return figure, list(grid[0])


def save_plot(figure: Figure, path: Path) -> None:
    """As SVG, the same bytes for the same figures."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    print(f"wrote {path}")
