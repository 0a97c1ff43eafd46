"""The page in a real browser (Debian's chromium): phones in light, a desktop in dark, paper; nothing
is cut off, and the keyboard reaches everything."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from report_world import World

from va_search.report.write import write

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

FLAGS = (
    *(
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--no-first-run",
        "--disable-sync",
    ),
    *(
        "--disable-background-networking",
        "--disable-component-update",
        "--virtual-time-budget=5000",
    ),
)
LIGHT, DARK = "--blink-settings=preferredColorScheme=1", "--blink-settings=preferredColorScheme=0"
PHONES, DESKTOP = (360, 390), 1280

PROBE = """<script>addEventListener('load', () => {
  const root = document.documentElement, all = selector => [...document.querySelectorAll(selector)];
  const inside = element => element.closest('.scroll, .picture, code');
  const wide = all('body *').filter(element => !inside(element) && !element.closest('.skip')
    && element.getBoundingClientRect().right > innerWidth + 1).map(element => element.tagName);
  const name = box => box.getAttribute('aria-label');
  const cut = all('.scroll').filter(box => box.scrollWidth > box.clientWidth + 1).map(name);
  const unreachable = all('tbody tr > :last-child').filter(cell => {
    const box = cell.closest('.scroll'), scrolls = ['auto', 'scroll'].includes(getComputedStyle(box).overflowX);
    return cell.getBoundingClientRect().right > innerWidth + 1 && !(scrolls && box.tabIndex === 0);
  }).map(cell => cell.textContent);
  const levels = all('h1, h2, h3').map(heading => Number(heading.tagName[1]));
  const steps = levels.map((level, index) => level - (levels[index - 1] || 0));
  const cards = all('table.cards tbody tr:not(.group) td:nth-child(3)');
  const labels = new Set(cards.map(cell => getComputedStyle(cell, '::before').content));
  const nameless = all('a[href], [tabindex="0"], figure, svg').filter(
    element => !(element.getAttribute('aria-label') || element.textContent.trim())).length;
  const lost = all('nav a').filter(link => { link.click(); return '#' + document.activeElement.id !== link.hash; });
  const told = JSON.stringify({scroll: root.scrollWidth, inner: innerWidth, wide, cut, unreachable,
    levels: steps.every(step => step <= 1) && levels[0] === 1, labels: [...labels], nameless,
    lost: lost.map(link => link.hash), sections: all('nav a').map(link => link.textContent),
    text: getComputedStyle(document.querySelector('svg text')).fill, tables: all('table').length});
  scrollTo(0, 0);
  root.setAttribute('data-told', told); parent.postMessage(told, '*'); });</script>"""

FRAME = """<!doctype html><body style="margin:0"><script>
addEventListener('message', event => document.documentElement.setAttribute('data-told', event.data));</script>
<iframe src="{page}" style="border:0;width:{width}px;height:{height}px;display:block"></iframe></body>"""
"""A window is never narrower than 500 pixels, a frame in it is."""


@pytest.fixture(scope="module")
def page(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The filled report with a probe in it."""
    out = tmp_path_factory.mktemp("pages")
    written = write(world.home, ["main", "ablation", "folds", "mix"], out=out)
    probed = out / "probed.html"
    probed.write_text(written.read_text().replace("</body>", PROBE + "</body>"))
    return probed


def browse(tmp_path: Path, *arguments: str) -> str:
    """What chromium prints; the test skips, visibly, where there is none."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    command = [chromium, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", *arguments]
    browser = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        return browser.communicate(timeout=100)[0]
    except subprocess.TimeoutExpired:
        os.killpg(browser.pid, signal.SIGKILL)
        return browser.communicate()[0] or ""


def told(dom: str) -> dict[str, Any]:
    found = re.search(r'data-told="([^"]*)"', dom)
    assert found is not None, f"the probe said nothing: {dom[:300]!r}"
    document: dict[str, Any] = json.loads(unescape(found.group(1)))
    return document


def picture(path: Path) -> NDArray[np.float64]:
    """(row, column, 3) of a screenshot, 0 to 1."""
    from matplotlib.image import imread

    return np.asarray(imread(path), dtype=np.float64)[..., :3]


def in_frame(page: Path, width: int, height: int) -> Path:
    framed = page.with_name(f"frame-{width}.html")
    framed.write_text(FRAME.format(page=page.name, width=width, height=height))
    return framed


def check_layout(found: dict[str, Any]) -> None:
    """Nothing is wider than the page, every cell can be reached, headings step by one, and whatever
    the keyboard stops at has a name."""
    assert found["scroll"] <= found["inner"]
    assert found["wide"] == [] and found["unreachable"] == []
    assert found["tables"] >= 9
    assert found["levels"], "a heading skips a level"
    assert found["nameless"] == 0
    assert found["lost"] == [], "the contents lead to each section, and the keyboard goes on there"
    assert found["sections"][0] == "In short" and found["sections"][-1] == "How it was made"


@pytest.mark.parametrize("width", PHONES)
def test_a_phone_shows_it_without_scrolling_sideways(
    page: Path, tmp_path: Path, width: int
) -> None:
    framed = in_frame(page, width, 3000)
    found = told(browse(tmp_path, LIGHT, "--dump-dom", framed.as_uri()))
    assert found["inner"] == width
    check_layout(found)
    assert found["cut"] == [], "the rows of wide tables are cards"
    assert '"Settings that differ"' in found["labels"]
    assert "none" not in found["labels"], "every field of a card has its column's name"
    assert found["text"] == "rgb(29, 32, 37)", "pictures take the page's colour"
    shot = tmp_path / "phone.png"
    browse(tmp_path, LIGHT, f"--window-size=500,{3000}", f"--screenshot={shot}", framed.as_uri())
    values = picture(shot)[:, :width]
    assert values[:, 0].mean() > 0.9, "a light page"
    assert (values.mean(axis=2) < 0.5).mean() > 0.01, "with something on it"


def test_a_desktop_shows_it_dark(page: Path, tmp_path: Path) -> None:
    window = f"--window-size={DESKTOP},4000"
    found = told(browse(tmp_path, DARK, window, "--dump-dom", page.as_uri()))
    assert found["inner"] == DESKTOP
    check_layout(found)
    assert found["cut"] == [], "no table is wider than the page"
    assert found["labels"] == ["none"], "rows are rows"
    assert found["text"] == "rgb(228, 230, 234)"
    shot = tmp_path / "desktop.png"
    browse(tmp_path, DARK, window, f"--screenshot={shot}", page.as_uri())
    values = picture(shot)
    assert values[:, 0].mean() < 0.2, "a dark page"
    assert (values.mean(axis=2) > 0.6).mean() > 0.01, "with something on it"


def test_on_paper_it_is_light_and_nothing_is_cut(page: Path, tmp_path: Path) -> None:
    paper = tmp_path / "report.pdf"
    browse(tmp_path, DARK, "--no-pdf-header-footer", f"--print-to-pdf={paper}", page.as_uri())
    assert paper.read_bytes().startswith(b"%PDF")
    extract = shutil.which("pdftotext")
    if extract is None:
        pytest.skip("pdftotext is not installed (apt-get install poppler-utils)")
    command = [extract, "-layout", str(paper), "-"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "Table 6" in text
    assert text.count("How it was made") == 1, "paper has no list of contents"
