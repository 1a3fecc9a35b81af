"""Pages in a real browser: what it makes of them, on a telephone and on a wide screen."""

import html
import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NEEDED = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: pages are not looked at")
WIDTHS = (390, 1440)
"""Of a telephone and of a screen; a browser's own window is never as narrow, so frames are used."""
TIME_LIMIT = 300

_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--window-size=1600,1200", "--dump-dom"),
)

# Of each frame what sticks out of it, and what is cut by an element round it; folded parts open.
_LOOK = """<script>addEventListener("load", () => {
  const faults = {};
  for (const frame of document.querySelectorAll("iframe")) {
    const page = frame.contentDocument, width = frame.clientWidth, found = [];
    page.querySelectorAll("details").forEach((folded) => { folded.open = true; });
    const told = (element, fault) => found.push(
      `${fault}: ${element.tagName} ${element.getAttribute("class") ?? ""} ` +
      element.textContent.trim().slice(0, 40));
    for (const element of page.body.querySelectorAll("*")) {
      const box = element.getBoundingClientRect();
      if (box.width && (box.right > width + 0.5 || box.left < -0.5)) told(element, "sticks out");
      const style = frame.contentWindow.getComputedStyle(element);
      const clips = style.overflowX !== "visible" && element instanceof
        frame.contentWindow.HTMLElement;
      if (clips && element.scrollWidth > element.clientWidth + 1) told(element, "is cut");
    }
    for (const text of page.querySelectorAll("svg text")) {
      const box = text.getBoundingClientRect();
      const card = text.closest("figure").getBoundingClientRect();
      if (box.left < card.left || box.right > card.right) told(text, "leaves its card");
      for (const other of text.parentElement.querySelectorAll(":scope > text")) {
        const by = other.getBoundingClientRect(), room = 1;
        const meets = text !== other && box.left + room < by.right && by.left + room < box.right
          && box.top + 4 < by.bottom - 3 && by.top + 4 < box.bottom - 3;
        if (meets && !text.closest(".series")) told(text, "overlaps");
      }
    }
    faults[frame.title] = found;
  }
  document.getElementById("found").textContent = JSON.stringify(faults);
})</script>"""


def dom(page: Path, profile: Path) -> str:
    """The page's markup after its scripts have run."""
    ended = subprocess.run(
        [str(CHROMIUM), *_OPTIONS, f"--user-data-dir={profile}", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=True,
    )
    return html.unescape(ended.stdout)


def faults(pages: Mapping[str, str], folder: Path) -> dict[str, list[str]]:
    """What sticks out, is cut or overlaps, by page and width."""
    frames = "".join(
        f'<iframe title="{name} at {width}" style="width:{width}px;height:900px;border:0" '
        f'srcdoc="{html.escape(text)}"></iframe>'
        for name, text in pages.items()
        for width in WIDTHS
    )
    watching = folder / "watching.html"
    begin = '<!doctype html><meta charset="utf-8"><pre id="found"></pre>'
    watching.write_text(f"{begin}{frames}{_LOOK}", encoding="utf-8")
    found = re.search(r'<pre id="found">(\{.*?\})</pre>', dom(watching, folder / "profile"))
    assert found, "the browser looked at nothing"
    return json.loads(found[1])
