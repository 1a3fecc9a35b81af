"""The document and its parts that are text: sections, facts, tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files


def render_page(title: str, introduction: str, *sections: str) -> str:
    """The whole document."""
    style = files("twinlens").joinpath("assets/report.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        f"<header><h1>{escape(title)}</h1><p>{escape(introduction)}</p></header>\n"
        + "\n".join(sections)
        + "\n</main>\n</body>\n</html>\n"
    )


def section(heading: str, *pieces: str, note: str = "", anchor: str = "") -> str:
    """A headed part of the page; links lead to its anchor."""
    text = f"<p>{escape(note)}</p>" if note else ""
    name = f' id="{escape(anchor)}"' if anchor else ""
    return f"<section{name}><h2>{escape(heading)}</h2>{text}{''.join(pieces)}</section>"


def subsection(heading: str, *pieces: str, note: str = "") -> str:
    """A headed part of a section; nothing where there are no pieces."""
    if not any(pieces):
        return ""
    text = f"<p>{escape(note)}</p>" if note else ""
    return f'<div class="part"><h3>{escape(heading)}</h3>{text}{"".join(pieces)}</div>'


def definition_list(values: Mapping[str, object]) -> str:
    """Names and values, such as what was trained, on what, for how long."""
    rows = (
        f"<div><dt>{escape(name)}</dt><dd>{escape(str(value))}</dd></div>"
        for name, value in values.items()
    )
    return f'<dl class="facts">{"".join(rows)}</dl>'


def bullet_list(texts: Sequence[str]) -> str:
    """A list of them; nothing where there are none."""
    rows = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f'<ul class="plain">{rows}</ul>' if texts else ""


def collapsible(summary: str, *pieces: str) -> str:
    """Pieces that are hidden until they are asked for."""
    return f"<details><summary>{escape(summary)}</summary>{''.join(pieces)}</details>"


def format_percent(value: float) -> str:
    """A fraction as a percentage, with more digits where it is small.

    Example:
        >>> format_percent(0.5512), format_percent(0.0006)
        ('55.1%', '0.06%')
    """
    return f"{100 * value:.1f}%" if value >= 0.01 or value == 0 else f"{100 * value:.2f}%"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows of text; narrow screens show the cells below each other, with their columns' names."""
    body = "".join(
        f"<tr>{''.join(map(labelled_cell, columns, map(escape, row)))}</tr>" for row in rows
    )
    figures = table_html(map(escape, columns), body, css_class="figures")
    return f'<div class="wide">{figures}</div>'


def table_html(columns: Iterable[str], body: str, *, css_class: str) -> str:
    """A table; the names of its columns and its rows are HTML already."""
    head = "".join(f"<th>{column}</th>" for column in columns)
    return f'<table class="{css_class}"><thead><tr>{head}</tr></thead>{body}</table>'


def labelled_cell(column: str, html: str) -> str:
    """A cell with the name of its column, which narrow screens show beside it."""
    return f'<td data-name="{escape(column)}">{html}</td>'
