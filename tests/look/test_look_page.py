"""The page in a real browser: a person sorts, filters, seeks, zooms, exports, and uses keys only;
what is exported is the arrays, to the last digit."""

from __future__ import annotations

import csv
import json
import shutil
import wave
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import MODIFIERS, Browser, Page, find_chromium
from look_pages import (
    MEDIA_OFFSET,
    ODD_NAME,
    RATE,
    Shown,
    make_recording,
    make_video,
    odd_recordings,
    write_folder,
)
from look_world import make_look

from va_search.data.eaf_reader import EafReader
from va_search.submission.formats import Sheet

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

SHOWN = "performance.getEntriesByName('va-recording').length > 0"
VIEW = "['from', 'to'].map(name => new URLSearchParams(location.hash.slice(1)).get(name))"
NAMES = (
    "[...document.querySelectorAll('#recordings .shown tr')].map(row => row.cells[0].textContent)"
)
AREA = ".target .u-over"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One chromium for all tests of this file; they skip, visibly, where there is none."""
    if find_chromium() is None:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture(scope="module")
def recordings() -> list[Shown]:
    """Recordings of the folder, in its order."""
    return odd_recordings()


@pytest.fixture(scope="module")
def url(recordings: list[Shown], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of a folder with one video, one data file too few, and an odd path."""
    out = tmp_path_factory.mktemp("look") / "a folder #1 100%"
    page = write_folder(out, recordings)
    (out / "data" / "0005.js").unlink()
    if shutil.which("ffmpeg") is not None:
        make_video(out / "P01 v1.webm", 31)
    return page.as_uri()


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    """The page with its first recording shown; no script has failed in the end."""
    page = open_page(browser, url)
    yield page
    assert page.errors() == []
    page.send("Page.close")


def open_page(browser: Browser, url: str) -> Page:
    browser.events.clear()
    for path in browser.downloads.iterdir():
        path.unlink()
    page = browser.open(url)
    page.wait(SHOWN)
    return page


def choose(page: Page, name: str) -> None:
    """Click on a recording of the list, and wait until it is shown."""
    rows = "[...document.querySelectorAll('#recordings .shown tr')]"
    page.run("performance.clearMarks()")
    page.run(f"{rows}.find(row => row.cells[0].textContent === {json.dumps(name)}).click()")
    page.wait(SHOWN)
    assert page.run("document.getElementById('name').textContent") == name


def select(page: Page, ident: str, value: str) -> None:
    """Choose an option of a list."""
    element = f"document.getElementById('{ident}')"
    page.run(f"{element}.value = '{value}'; {element}.dispatchEvent(new Event('change'))")


def text(page: Page, selector: str) -> str:
    content: str = page.run(f"document.querySelector({json.dumps(selector)}).textContent")
    return content


def view(page: Page) -> tuple[float, float] | None:
    """Seconds in sight, as the address has them; None for the whole."""
    page.run("new Promise(resolve => setTimeout(resolve, 450))")
    ends = page.run(VIEW)
    return None if ends[0] is None else (float(ends[0]), float(ends[1]))


def area(page: Page) -> tuple[float, float, float]:
    """(left, top, width) of the first chart, in sight."""
    page.middle(AREA)
    left, top, width = page.run(
        f"(() => {{ const box = document.querySelector('{AREA}').getBoundingClientRect();"
        " return [box.left, box.top, box.width]; })()"
    )
    return left, top, width


def frame_of(page: Page) -> int:
    """The frame at the cursor, from 0."""
    return int(text(page, "#clock").split("frame ")[1].split(" of")[0]) - 1


def test_the_list_sorts_by_each_column_with_missing_scores_last(
    page: Page, recordings: list[Shown]
) -> None:
    in_order = [shown.name for shown in recordings]
    assert page.run(NAMES) == in_order
    page.click("#recordings th.frames button")
    by_frames = sorted(recordings, key=lambda shown: shown.frames)
    assert page.run(NAMES) == [shown.name for shown in by_frames]
    for target in ("valence", "arousal"):
        select(page, "scores-of", target)
        for score in ("ccc", "rmse", "bias", "spread"):
            scored = [shown for shown in recordings if shown.annotation and shown.frames > 1]
            scored.sort(key=lambda shown: shown.scores()[target][score])
            names = [shown.name for shown in scored]
            for expected in (names, names[::-1]):
                page.click(f"#recordings th.{score} button")
                listed = [name for name in page.run(NAMES) if name in names]
                assert listed == expected, (target, score)
                assert ODD_NAME in page.run(NAMES)[-2:], "no score: last"
    page.click("#recordings th.subject button")
    assert page.run(NAMES)[-1] == ODD_NAME, "P10 behind P2"
    page.click("#recordings th.subject button")
    assert page.run(NAMES)[0] == ODD_NAME
    sorted_by = "document.querySelector('#recordings [aria-sort=descending]').textContent"
    assert page.run(sorted_by) == "Subject"


def test_filters_narrow_the_list_together(page: Page) -> None:
    page.press("/")
    page.type("P02")
    assert page.run(NAMES) == ["P02_v10", "one frame"], "by name or subject"
    assert text(page, "#count") == "2 of 5 recordings"
    select(page, "filter-stimulus", "is:v10")
    assert page.run(NAMES) == ["P02_v10"]
    page.type("x")
    assert page.run(NAMES) == []


def test_a_click_goes_to_the_moment_and_shows_its_exact_values(
    page: Page, recordings: list[Shown]
) -> None:
    shown = recordings[0]
    page.click('[data-series="s1"] input')
    page.wait("document.querySelector('[data-series=s1] td').textContent !== ''")
    left, top, width = area(page)
    for share in (0.25, 0.9):
        page.click_at(left + share * width, top + 30)
        frame = frame_of(page)
        assert frame == pytest.approx(share * (shown.frames - 1), abs=2)
        cells = page.run(
            "['annotation', 's0', 's1', 'raters-low'].map(id => Array.from("
            "document.querySelectorAll(`[data-series=${id}] td:not(.weight)`), c => c.textContent))"
        )
        assert np.float32(cells[0][0]) == shown.annotation["valence"][frame]
        assert float(cells[1][0]) == shown.series["s0"]["valence"][frame]
        assert float(cells[1][1]) == shown.series["s0"]["arousal"][frame]
        assert np.float32(cells[2][1]) == shown.series["s1"]["arousal"][frame]
        assert np.float32(cells[3][0]) == shown.raters["valence"][0][frame]
        assert cells[3][1] == "–", "no raters of arousal"
    page.mouse("mouseMoved", left + 0.5 * width, top + 30)
    page.wait(
        f"document.getElementById('clock').textContent.includes('frame {frame_middle(shown)} ')"
    )
    page.mouse("mouseMoved", left + 0.5 * width, 5)
    page.wait(f"document.getElementById('clock').textContent.includes('frame {frame + 1} ')")


def frame_middle(shown: Shown) -> int:
    """Number, from 1, of the frame in the middle of the whole."""
    return round(0.5 * (shown.frames - 1)) + 1


def test_the_video_follows_the_cursor_and_leads_it_while_it_plays(page: Page, url: str) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    page.wait("document.querySelector('video')?.readyState >= 1")
    left, top, width = area(page)
    page.click_at(left + 0.4 * width, top + 20)
    wanted = frame_of(page) / RATE
    page.wait("!document.querySelector('video').seeking")
    at = page.run("document.querySelector('video').currentTime")
    assert at == pytest.approx(wanted + MEDIA_OFFSET, abs=0.5 / RATE)
    assert frame_of(page) / RATE == wanted, "the video doesn't move the cursor back"
    page.press(" ")
    page.wait(f"document.querySelector('video').currentTime > {at + 0.5}")
    page.press(" ")
    page.wait("document.querySelector('video').paused")
    page.run("new Promise(resolve => setTimeout(resolve, 150))")
    at = page.run("document.querySelector('video').currentTime")
    assert frame_of(page) / RATE == pytest.approx(at - MEDIA_OFFSET, abs=2.5 / RATE)
    assert frame_of(page) / RATE > wanted
    page.run("document.querySelector('video').currentTime = 5.5")
    page.wait("document.getElementById('clock').textContent.startsWith('0:05.0')")
    choose(page, "P02_v10")
    assert page.run("document.querySelector('video')") is None
    assert page.run("document.getElementById('play').hidden")


@pytest.mark.parametrize("medium", ["sound 1.wav", "none.mp4"])
def test_sound_plays_and_a_medium_that_is_not_there_is_named(
    browser: Browser, tmp_path: Path, medium: str
) -> None:
    shown = make_recording("heard", 100, 0)
    shown.entry = {"media": medium.replace(" ", "%20"), "media_note": "Its sound only."}
    index = write_folder(tmp_path / "out", [shown])
    rate = 8000
    with wave.open(str(tmp_path / "out" / "sound 1.wav"), "wb") as sound:
        sound.setparams((1, 2, rate, 0, "NONE", ""))
        sound.writeframes(bytes(2 * rate * 4))
    page = open_page(browser, index.as_uri())
    assert "Its sound only." in text(page, "#player")
    if medium == "none.mp4":
        page.wait("document.getElementById('player').textContent.includes('none.mp4 is not there')")
        assert page.run("document.getElementById('play').hidden")
    else:
        page.wait("document.querySelector('audio').readyState >= 1")
        page.press("ArrowRight", "Shift")
        page.wait("document.querySelector('audio').currentTime === 1")
    page.send("Page.close")


def test_wheel_drag_and_keys_zoom_and_pan_all_targets_together(page: Page) -> None:
    whole = 749 / RATE
    left, top, width = area(page)
    y = top + 40
    page.mouse("mouseWheel", left + 0.5 * width, y, deltaX=0, deltaY=-400)
    near = view(page)
    assert near is not None
    factor = np.exp(-400 * 0.0015)
    assert near[1] - near[0] == pytest.approx(factor * whole, rel=0.02)
    assert sum(near) / 2 == pytest.approx(whole / 2, abs=0.1), "the pointer's time stays"
    page.drag((left + 0.5 * width, y), (left + 0.7 * width, y))
    moved = view(page)
    assert moved is not None
    span = near[1] - near[0]
    assert moved[0] == pytest.approx(near[0] - 0.2 * span, abs=0.02 * span)
    assert moved[1] - moved[0] == pytest.approx(span, abs=0.002)
    start, end = (left + 0.25 * width, y), (left + 0.75 * width, y)
    page.drag(start, end, MODIFIERS["Shift"])
    chosen = view(page)
    assert chosen is not None
    assert chosen[0] == pytest.approx(moved[0] + 0.25 * span, abs=0.02 * span)
    assert chosen[1] == pytest.approx(moved[0] + 0.75 * span, abs=0.02 * span)
    page.press(".")
    later = view(page)
    assert later is not None
    assert later[0] == pytest.approx(chosen[0] + 0.25 * (chosen[1] - chosen[0]), abs=0.01)
    page.press("-")
    wider = view(page)
    assert wider is not None
    assert wider[1] - wider[0] == pytest.approx(2 * (later[1] - later[0]), abs=0.01)
    page.press("0")
    assert view(page) is None
    page.press("-")
    assert view(page) is None, "no wider than the whole"
    page.mouse("mouseWheel", left + 0.5 * width, y, deltaX=0, deltaY=300)
    page.wait("document.querySelector('main').scrollTop > 0")
    assert view(page) is None, "the wheel scrolls on"
    for _ in range(12):
        page.press("+")
    nearest = view(page)
    assert nearest is not None
    assert nearest[1] - nearest[0] == pytest.approx(4 / RATE, rel=0.02)
    page.click("#whole")
    assert view(page) is None


def test_fingers_pan_and_zoom(page: Page) -> None:
    page.resize(390, 844)
    page.send("Emulation.setTouchEmulationEnabled", {"enabled": True, "maxTouchPoints": 2})
    page.wait("document.querySelector('.chart canvas').getBoundingClientRect().right <= 390")
    left, top, width = area(page)
    y = top + 60

    def touch(*steps: tuple[float, ...]) -> None:
        """Put fingers down at shares of the width, move them through steps, lift them."""
        for number, shares in enumerate(steps):
            points = [
                {"x": left + share * width, "y": y, "id": finger}
                for finger, share in enumerate(shares)
            ]
            kind = "touchStart" if number == 0 else "touchMove"
            page.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        page.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    touch((0.4, 0.6), (0.35, 0.65), (0.2, 0.8))
    near = view(page)
    assert near is not None
    whole = 749 / RATE
    assert near[1] - near[0] == pytest.approx(whole / 3, rel=0.05), "three times as near"
    assert sum(near) / 2 == pytest.approx(whole / 2, rel=0.05)
    touch((0.5,), (0.6,), (0.7,))
    moved = view(page)
    assert moved is not None
    assert moved[0] == pytest.approx(near[0] - 0.2 * (near[1] - near[0]), rel=0.1)


def test_the_worst_ten_seconds_of_a_target(page: Page, recordings: list[Shown]) -> None:
    first = recordings[0].worst()["arousal"]
    page.click('[data-worst="arousal"]')
    assert frame_of(page) == first
    ends = view(page)
    assert ends is not None
    assert ends[0] <= first / RATE
    assert ends[1] >= first / RATE + 10
    assert "target=arousal" in page.run("location.hash")
    page.press("t")
    page.press("w")
    assert frame_of(page) == recordings[0].worst()["valence"]


def exported(page: Page, kind: str, name: str) -> Path:
    """A file saved by the export menu."""
    page.press("e")
    page.wait("document.getElementById('export').open")
    page.click(f'[data-export="{kind}"]')
    return page.download(name)


def show_all_members(page: Page) -> None:
    page.press("a")
    for number in (1, 2, 3):
        page.wait(f"document.querySelector('[data-series=s{number}] td').textContent !== ''")
    assert page.run("document.querySelectorAll('#values input:checked').length") == 3


def digits(text: str) -> int:
    """The number of significant digits of a number's text."""
    return len(Decimal(text).normalize().as_tuple().digits)


def equal_bits(texts: list[str], values: Any) -> bool:
    """True where texts read back as these very floats, an empty one as NaN."""
    numbers = np.array([float(text) if text else np.nan for text in texts]).astype(values.dtype)
    missing = np.isnan(values)
    kind = f"u{values.dtype.itemsize}"
    same = numbers[~missing].view(kind) == values[~missing].view(kind)
    return bool(np.isnan(numbers[missing]).all() and same.all())


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_the_csv_has_every_digit_of_every_shown_curve(
    page: Page, recordings: list[Shown], number: int
) -> None:
    shown = recordings[number]
    show_all_members(page)
    choose(page, shown.name)
    stem = shown.name
    for sign in '"</>':
        stem = stem.replace(sign, "_")
    rows = list(csv.reader(exported(page, "csv", f"{stem}_curves.csv").open(encoding="utf-8")))
    columns = dict(zip(rows[0], zip(*rows[1:], strict=True), strict=True))
    assert len(rows) == 1 + shown.frames
    times = np.arange(shown.frames) / RATE if shown.times is None else shown.times
    assert equal_bits(list(columns.pop("time")), times)
    titles = {"s0": "ensemble best"} | {f"s{n}": f"trial {n}" for n in (1, 2, 3)}
    for target in ("valence", "arousal"):
        if shown.annotation:
            assert equal_bits(list(columns.pop(f"{target}: annotation")), shown.annotation[target])
        for ident, title in titles.items():
            cells = columns.pop(f"{target}: {title}")
            assert equal_bits(list(cells), shown.series[ident][target]), (target, ident)
            if shown.series[ident][target].dtype == np.float32:
                shortest = [str(value) for value in shown.series[ident][target]]
                assert list(map(digits, cells)) == list(map(digits, shortest))
    if shown.raters:
        low, high = shown.raters["valence"]
        assert equal_bits(list(columns.pop("valence: raters low")), low)
        assert equal_bits(list(columns.pop("valence: raters high")), high)
    assert columns == {}, "and nothing else"


def test_what_is_submitted_is_the_sheet_that_submit_writes(
    page: Page, recordings: list[Shown], tmp_path: Path
) -> None:
    shown = recordings[0]
    written = exported(page, "submission", "P01_v1.csv").read_bytes()
    values = np.stack([shown.series["s0"][target] for target in ("valence", "arousal")], axis=1)
    sheet = Sheet("P01_v1.csv", ("time", "valence", "arousal"), shown.keys, values.clip(-1, 1))
    sheet.write(tmp_path / "sheet.csv")
    assert written == (tmp_path / "sheet.csv").read_bytes()


def test_elan_gets_a_tier_per_curve_on_the_videos_clock(
    page: Page, recordings: list[Shown]
) -> None:
    shown = recordings[0]
    path = exported(page, "eaf", "P01_v1.eaf")
    reader = EafReader()
    names = ["valence: annotation", "valence: ensemble best", "arousal: ensemble best"]
    assert set(names) <= set(reader.header(path))
    numbers = reader.numbers(path, names)
    curves = [shown.annotation["valence"], *shown.series["s0"].values()]
    # Rows are 10 ms apart, frames 40 ms: the second row of a frame lies inside it.
    rows = np.arange(shown.frames) * 4 + int(MEDIA_OFFSET * 100) + 1
    for column, curve in enumerate(curves):
        assert np.array_equal(numbers[rows, column].astype(curve.dtype), curve, equal_nan=True)
    assert np.isnan(numbers[: int(MEDIA_OFFSET * 100)]).all(), "nothing before the store's time 0"
    content = path.read_text(encoding="utf-8")
    assert 'MIME_TYPE="video/webm"' in content
    assert "a%20folder%20%231%20100%25/P01%20v1.webm" in content


def test_the_picture_shows_title_legend_and_curves(page: Page) -> None:
    from matplotlib.image import imread

    picture = np.asarray(imread(exported(page, "png", "P01_v1.png")))[..., :3]
    width = page.run("document.getElementById('traces').clientWidth")
    assert picture.shape[1] == width + 24
    assert picture.shape[0] > 500
    assert (picture.mean(axis=2) < 0.5).mean() > 0.005
    is_blue = (picture[..., 2] > 0.55) & (picture[..., 0] < 0.3)
    assert is_blue.sum() > 200, "the main curve"


def test_a_link_opens_at_the_moment_with_members_and_zoom(
    browser: Browser, page: Page, url: str
) -> None:
    link = f"{url}#recording=P02_v10&t=8.25&target=arousal&members=s2,s3&from=6&to=11"
    page.run(f"location.href = {json.dumps(link)}")
    page.wait("document.getElementById('name').textContent === 'P02_v10'")
    for _ in range(2):  # once by a changed address, once in a new page
        page.wait("document.getElementById('clock').textContent.startsWith('0:08.250')")
        assert view(page) == (6, 11)
        ticked = "[...document.querySelectorAll('#values input:checked')].length"
        assert page.run(ticked) == 2
        assert text(page, ".target.chosen h3") == "Arousal"
        page.press("c")
        page.wait(
            "document.querySelector('#link-dialog[open]')"
            " || !document.getElementById('message').hidden"
        )
        shown = page.run("location.href")
        assert shown.replace("%2C", ",") == link
        page.go(shown)
        page.wait(SHOWN)


def test_keys_alone_do_everything(page: Page) -> None:
    page.press("n")
    page.wait("document.getElementById('name').textContent === 'P02_v10'")
    page.wait("document.getElementById('clock').textContent.includes('of 400')")
    page.press("p")
    page.wait("document.getElementById('clock').textContent.includes('of 750')")
    page.press("ArrowRight")
    page.press("ArrowRight")
    assert frame_of(page) == 2
    page.press("ArrowLeft")
    assert frame_of(page) == 1
    page.press("ArrowRight", "Shift")
    assert frame_of(page) == 26
    page.wait("document.getElementById('cursor-text').textContent.includes('annotation')")
    page.press("End")
    assert frame_of(page) == 749
    page.press("Home")
    assert frame_of(page) == 0
    page.press("f")
    assert page.run("document.getElementById('fit').getAttribute('aria-pressed')") == "false"
    page.press("v")
    page.press(" ")
    page.wait("document.activeElement?.type === 'checkbox' && document.activeElement.checked")
    page.press("?")
    assert page.run("document.getElementById('keys').open")
    assert page.run("document.querySelectorAll('#keys tr').length") >= 20
    page.press("Escape")
    page.wait("!document.getElementById('keys').open")
    page.press("l")
    assert page.run("document.documentElement.dataset.theme") == "light"
    page.run("document.getElementById('recordings').focus()")
    page.press("ArrowDown")
    page.wait("document.getElementById('name').textContent === 'P02_v10'")
    page.press("End")
    page.wait("document.getElementById('name').textContent === 'gone'")
    page.run("localStorage.clear()")


def test_a_missing_file_is_named_and_the_next_recording_shows(page: Page) -> None:
    page.run("document.querySelector('#recordings .shown tr:last-child').click()")
    page.wait("!document.getElementById('recording-problem').hidden")
    assert text(page, "#recording-problem").startswith("data/0005.js is not there")
    choose(page, "one frame")
    assert page.run("document.getElementById('recording-problem').hidden")
    assert text(page, "#clock") == "0:00.000 · frame 1 of 1"


def test_names_are_text_and_nothing_comes_from_a_network(page: Page) -> None:
    choose(page, ODD_NAME)
    assert page.run("document.getElementById('bold')") is None
    assert "no annotation" in text(page, ".target-head")
    names = page.run("performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [name for name in names if not name.startswith(("file:", "data:", "blob:"))] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_without_scrolling_sideways(
    page: Page, tmp_path: Path, scheme: str
) -> None:
    page.prefer(scheme)
    page.resize(390, 844)
    page.wait("document.querySelector('.chart canvas').getBoundingClientRect().right <= 390")
    assert page.run("document.documentElement.scrollWidth") == 390
    for selector in ("#fit", AREA, "#values"):
        page.middle(selector)
        box = page.run(f"document.querySelector('{selector}').getBoundingClientRect().left")
        assert 0 <= box < 390
    page.screenshot(tmp_path / "phone.png")
    from matplotlib.image import imread

    brightness = np.asarray(imread(tmp_path / "phone.png"))[..., :3].mean()
    assert (brightness > 0.7) == (scheme == "light")


def test_every_control_has_a_name_and_every_chart_a_text(page: Page) -> None:
    page.press("?")
    page.press("Escape")
    nameless = page.run(
        "[...document.querySelectorAll('button, input, select, summary, canvas, [role=img]')]"
        ".filter(control => !control.textContent.trim() && !control.getAttribute('aria-label')"
        " && !control.closest('label, [aria-hidden=true], [role=img][aria-label]'))"
        ".map(control => control.outerHTML)"
    )
    assert nameless == []
    label = page.run("document.querySelector('[role=img]').getAttribute('aria-label')")
    assert label.startswith("Valence. CCC 0.9")


def test_one_recording_of_one_target_without_anything_else(
    browser: Browser, tmp_path: Path
) -> None:
    shown = make_recording("only", 50, 1, targets=("engagement",), members=0)
    page = open_page(browser, write_folder(tmp_path / "out", [shown], ("engagement",)).as_uri())
    assert page.run("document.querySelectorAll('.target').length") == 1
    assert page.run("document.getElementById('scores-of-label').hidden")
    assert text(page, "#count") == "1 recording"
    page.press("n")
    page.press("w")
    page.press("t")
    assert page.errors() == []
    page.send("Page.close")


def test_a_folder_without_its_index_says_so(browser: Browser, tmp_path: Path) -> None:
    page_path = write_folder(tmp_path / "out", [make_recording("only", 9, 1)])
    (tmp_path / "out" / "data" / "index.js").unlink()
    page = browser.open(page_path.as_uri())
    page.wait("!document.getElementById('problem').hidden")
    assert "data/index.js is not there" in text(page, "#problem")


def test_thousands_of_rows_are_a_few_elements(browser: Browser, tmp_path: Path) -> None:
    rows = [make_recording(f"r{number}", 2, number % 7, members=0) for number in range(3000)]
    page = open_page(browser, write_folder(tmp_path / "out", rows).as_uri())
    count = "document.querySelectorAll('#recordings tr').length"
    assert page.run(count) < 80
    page.run("document.querySelector('.rows').scrollTop = 1e9")
    page.wait(f"{NAMES}.includes('r2999')")
    assert page.run(count) < 80
    page.run("document.getElementById('recordings').focus()")
    page.press("End")
    page.wait("document.getElementById('name').textContent === 'r2999'")


def test_a_folder_that_was_made_again_does_not_show_under_the_old_list(
    browser: Browser, tmp_path: Path
) -> None:
    look = make_look(tmp_path / "out", recordings=3, frames=50, members=1)
    page = open_page(browser, look.page.as_uri())
    make_look(tmp_path / "out", recordings=3, frames=50, members=1)
    page.run("document.querySelector('#recordings .shown tr:last-child').click()")
    page.wait("!document.getElementById('recording-problem').hidden")
    assert "was made again" in text(page, "#recording-problem")
    page.go(look.page.as_uri())
    page.wait(SHOWN)
    assert page.run("document.getElementById('recording-problem').hidden")
    page.run("location.hash = '#recording=nobody'")
    page.wait("document.getElementById('message').textContent.includes('no recording nobody')")
    page.send("Page.close")


def test_on_paper_the_charts_have_the_whole_width(browser: Browser, tmp_path: Path) -> None:
    look = make_look(tmp_path / "out", recordings=3, frames=50, members=1)
    page = open_page(browser, look.page.as_uri())
    page.send("Emulation.setEmulatedMedia", {"media": "print"})
    width = "document.querySelector('main').getBoundingClientRect().width / innerWidth"
    assert page.run(width) > 0.95
    page.send("Page.close")
