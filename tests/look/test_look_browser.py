"""From a bank to a real browser and back: what the page exports are the bank's numbers, and the file
that `submit` writes."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ensemble_world import make_world

from va_search.ensemble.build import build
from va_search.ensemble.recipe import load_recipe
from va_search.ensemble.saved import predict
from va_search.look.ensembles import shown_ensemble
from va_search.look.folder import write_look
from va_search.submission import submit
from va_search.targets import clipped

chromium = pytest.importorskip("chromium", reason="the driver of the browser is not there")

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

SHOWN = "performance.getEntriesByName('va-recording').length > {count}"


def exported(page: Any, kind: str, name: str) -> Path:
    """A file saved by the export menu."""
    page.press("e")
    page.wait("document.getElementById('export').open")
    page.click(f'[data-export="{kind}"]')
    return Path(page.download(name))


def test_what_a_browser_exports_is_the_bank_to_the_last_digit(tmp_path: Path) -> None:
    if chromium.find_chromium() is None:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    world = make_world(tmp_path, trials=3)
    ensemble = build(world.home, ["first"], load_recipe("mean"), "e", world.store)
    look = write_look(shown_ensemble(world.home, ensemble, world.store), tmp_path / "a look #1")
    submit(ensemble, world.store, world.bank, format="recordings", out=tmp_path / "submission")
    test = world.store.split("test")
    whole = clipped(predict(ensemble, world.bank, "test", test), world.store.targets)
    with chromium.Browser(tmp_path / "browser") as browser:
        page = browser.open(f"{look.page.as_uri()}#recording=x2")
        page.wait(SHOWN.format(count=0))
        for number in (1, 2, 3):
            page.click(f'[data-series="s{number}"] input')
            page.wait(SHOWN.format(count=number))
        rows = list(csv.reader(exported(page, "csv", "x2_curves.csv").open(encoding="utf-8")))
        submitted = exported(page, "submission", "x2.csv").read_bytes()
        assert page.errors() == []
    columns = dict(zip(rows[0], zip(*rows[1:], strict=True), strict=True))
    inside = slice(test[0].frames, None)
    assert [float(text) for text in columns["time"]] == [frame / 20 for frame in range(48)]
    for index, target in enumerate(world.store.target_names):
        values = [float(text) for text in columns[f"{target}: ensemble e"]]
        assert values == whole[inside, index].tolist()
        for trial in ("a0", "a1", "a2"):
            column = world.bank.column(
                "first", trial, "test", target, frames_hash=str(ensemble.test_frames_hash)
            )
            texts = columns[f"{target}: first/{trial}"]
            assert [np.float32(text) for text in texts] == list(column[inside])
    assert submitted == (tmp_path / "submission" / "x2.csv").read_bytes()
