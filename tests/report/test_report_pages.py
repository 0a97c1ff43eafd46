"""Markdown and HTML: whole, escaped, without a network; the files and the function that writes
them."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from report_world import HOSTILE, UNDERSCORED, World, make_world

from va_search.errors import InputError
from va_search.report import pages
from va_search.report.figures import progress, settings
from va_search.report.gather import gather
from va_search.report.pages import Figure, Section, StudyReport, to_html, to_markdown
from va_search.report.write import save, write
from va_search.table import Missing, Table, TableCell, columns, markdown_text, row
from va_search.table.plain_text import html_text

VOID = {"meta", "br", "link", "wbr"}


class Checker(HTMLParser):
    """Every element closed where it should be; collects tags, addresses and what pictures say."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.silent: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        self.tags.append(tag)
        self.addresses += [
            str(value) for name, value in attrs if name in ("href", "src", "xlink:href")
        ]
        self.ids += [str(said["id"])] if "id" in said else []
        if tag in ("svg", "img") and not (said.get("aria-label") or said.get("alt")):
            self.silent.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(whole: StudyReport) -> str:
    return to_html(whole)


@pytest.fixture(scope="module")
def checked(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    checker.close()
    return checker


def test_the_page_is_well_formed(checked: Checker) -> None:
    assert checked.open == []
    assert checked.tags.count("table") >= 9
    assert len(set(checked.ids)) == len(checked.ids), "an id stands twice"


def test_nothing_comes_from_a_network_and_nothing_runs(page: str, checked: Checker) -> None:
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", page)
    assert all(address.startswith("#") for address in checked.addresses)
    assert not {"script", "iframe", "link", "object", "base"} & set(checked.tags)
    assert len(page.encode()) < 3_000_000


def test_every_picture_says_what_it_shows(page: str, checked: Checker, whole: StudyReport) -> None:
    assert checked.silent == []
    pictures = [picture for figure in whole.figures() for picture in figure.pictures]
    assert checked.tags.count("svg") == len(pictures) >= 12
    for picture in pictures:
        root = ElementTree.fromstring(picture.svg)
        assert root.get("role") == "img"
        assert root.findtext("title") == root.get("aria-label") == picture.alt
    assert "#0b0c0d" not in page, "the ink is replaced by the page's colour"
    assert "#000000" not in page


def test_names_from_data_are_escaped(page: str, whole: StudyReport) -> None:
    assert HOSTILE not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    plain = to_markdown(whole)
    assert "<script" not in plain
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in plain
    assert r"a\_b.i+c" in plain
    # no feature set has such a name, but other names may
    assert markdown_text("a|b_<i>&c") == r"a\|b\_&lt;i&gt;&amp;c"
    assert html_text("a|b_<i>&c") == "a|b_&lt;i&gt;&amp;c"
    assert UNDERSCORED in {
        name
        for table in whole.tables()
        for row in table.rows
        for name in row.cells[0].text.split(" + ")
    }


def test_the_six_tables_are_there_and_filled(whole: StudyReport) -> None:
    titles = [table.title for table in whole.tables()]
    for number in range(1, 7):
        assert any(title.startswith(f"Table {number}: ") for title in titles)
    assert [table.title for table in whole.tables() if table.missing] == []


def test_the_figures_are_drawn(whole: StudyReport) -> None:
    missing = {figure.title: figure.missing.why for figure in whole.figures() if figure.missing}
    assert missing == {}, "the damaged record stops nothing but its own trial"


def test_the_same_data_gives_the_same_pictures(world: World, whole: StudyReport) -> None:
    found = gather(world.home, ["main", "ablation", "folds", "mix"])
    again = [progress.learning_curves(found), settings.parallel_coordinates(found)]
    first = [
        figure
        for figure in whole.figures()
        if figure.title in ("Learning curves", "Parallel coordinates")
    ]
    assert [figure.pictures for figure in again] == [figure.pictures for figure in first]


def test_markdown_tables_have_one_width(whole: StudyReport) -> None:
    width = None
    for line in to_markdown(whole).splitlines():
        bars = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else None
        assert bars is None or width in (None, bars), line
        width = bars


def small() -> StudyReport:
    table = Table(
        "Table 9: a*b",
        (*columns("Model"), *columns("Valence", kind="number")),
        (
            row("part one", kind="group"),
            row(TableCell("LSTM", mark=True), TableCell("0.5", best=True)),
            row(TableCell("x|y", code=True), "–"),
        ),
        lead="In <b>.",
        mark="late fusion",
    )
    empty = Table("Table 8: none", missing=Missing("Nothing yet.", "va-search plan `x`"))
    return StudyReport(
        "A & B",
        "two",
        (Section("One", ("Text.",), (table, empty), (Figure("F", missing=Missing("No.")),)),),
    )


def test_markdown_of_a_small_report() -> None:
    assert to_markdown(small()) == "\n".join([
        "<!-- va-search report -->", "", "# A &amp; B", "", "two", "", "## One", "", "Text.", "",
        r"### Table 9: a\*b", "", "In &lt;b&gt;.", "",
        "| Model | Valence |", "| --- | ---: |", "| **part one** |  |", "| _LSTM_ | **0.5** |", r"| `x\|y` | – |", "",
        "- In italics: late fusion.", "",
        "## Not shown", "", "- Table 8: none: Nothing yet. To fill it: `va-search plan 'x'`", "- F: No.", "",
    ])  # fmt: skip


def test_html_of_a_small_report() -> None:
    page = to_html(small())
    group = '<th role="rowheader" colspan="2" scope="colgroup">part one</th>'
    assert f'<tr role="row" class="group">{group}</tr>' in page
    assert ' data-label="Valence"><b>0.5</b></td></tr>' in page
    assert ' data-label="Model"><code>x|y</code></td>' in page
    assert "<b>Table 8: none</b>: Nothing yet. To fill it: <code" in page
    assert page.count("va-search plan `x`</code>") == 1
    assert page.index("Not shown</h2>") > page.index("</table>")


def test_the_answer_comes_first_and_what_is_not_there_last() -> None:
    facts = (("submit", "E <1>."), ("expected", "0.5."), ("late", "Again: va-search refit E"))
    empty = Section("Empty", tables=(Table("T", missing=Missing("No.")),))
    answer = Section("The answer", facts=facts, command="va-search submit E --out 'a b'")
    report = StudyReport("A", "b", (answer, empty, *small().sections))
    page, plain = to_html(report), to_markdown(report)
    assert "<dt>Submit</dt><dd>E &lt;1&gt;.</dd>" in page and "- **Expected**: 0.5." in plain
    assert ">va-search refit E</code>" in page and "- **Late**: Again: `va-search refit E`" in plain
    assert ">va-search submit E --out 'a b'</code>" in page
    headings = re.findall(r"^## (.*)$", plain, re.MULTILINE)
    assert headings == ["The answer", "One", "Not shown"], "an empty section has no heading"
    assert re.findall(r'<h2 id="([a-z-]+)-title"', page) == ["the-answer", "one", "not-shown"]
    assert re.findall(r'<li><a href="#([a-z-]+)">', page) == ["the-answer", "one", "not-shown"]


def test_writing_replaces_a_report_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    assert save(small(), out) == out / "report.html"
    (out / "other.txt").write_text("mine")
    save(small(), out)
    assert sorted(path.name for path in out.iterdir()) == ["other.txt", "report.html", "report.md"]
    (out / "report.md").write_text("# my own notes\n")
    with pytest.raises(InputError, match="is no report that va-search wrote"):
        save(small(), out)
    assert (out / "report.md").read_text() == "# my own notes\n"
    with pytest.raises(InputError, match="is a file"):
        save(small(), out / "other.txt")


def test_a_failure_in_between_leaves_the_old_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(small(), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def broken(made: Any) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pages, "to_html", broken)
    with pytest.raises(OSError, match="No space"):
        save(small(), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_report_of_nearly_nothing_is_whole(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    world.begin("new")
    world.fail("new", world.settings("fau"), "ValueError: no")
    page = write(world.home, ["new"], store=world.store, out=tmp_path / "out")
    text = page.with_suffix(".md").read_text()
    for number in range(1, 7):
        assert f"- Table {number}: " in text
    assert text.count("\n- ", text.index("## Not shown")) >= 12
    assert "ValueError: no" in text
    assert "1 failed" in text
