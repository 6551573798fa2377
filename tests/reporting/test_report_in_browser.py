"""Claims about the page in a real browser: nothing broken, nothing fetched, nothing cut off."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import synthetic_run

from mindeye.metrics.features import NETWORKS
from mindeye.metrics.points import Finding
from mindeye.reporting.build import build_report
from mindeye.reporting.data import ReportData


def warned() -> ReportData:
    """The coloured run, whose decoder only classifies."""
    data = synthetic_run.coloured(30)
    caught = Finding("same_cluster_of_pictures", "mindeye", False, "It tells clusters apart.")
    return dataclasses.replace(data, findings=[*data.findings, caught])


BUILDERS = {
    "coloured": lambda: synthetic_run.coloured(30),
    "digits": synthetic_run.digits,
    "warned": warned,
}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip("playwright is not installed")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as playwright:
        try:
            running = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except Error:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip("chromium is not installed")
        yield running
        running.close()


class Visit:
    """An opened page with what it complained about and asked for."""

    def __init__(self, browser: Any, path: Path) -> None:
        self.path = path
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page = browser.new_page()
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_load_state("load")
        self.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")

    def at(self, width: int = 1280, scheme: str = "light") -> Any:
        """Return the page as a window of that width shows it."""
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.emulate_media(color_scheme=scheme)
        return self.page


@pytest.fixture(scope="module")
def visits(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Visit]:
    """Every page, opened once."""
    folder = tmp_path_factory.mktemp("report")
    return {
        name: Visit(browser, build_report(make(), folder / f"{name}.html"))
        for name, make in BUILDERS.items()
    }


@pytest.mark.parametrize("name", BUILDERS)
def test_the_page_raises_no_error_and_asks_the_network_for_nothing(
    visits: dict[str, Visit], name: str
) -> None:
    visit = visits[name]
    assert visit.errors == []
    elsewhere = [u for u in visit.requests if not u.startswith(("data:", visit.path.as_uri()))]
    assert elsewhere == []


@pytest.mark.parametrize("name", BUILDERS)
def test_every_picture_is_decoded_and_seen_at_a_generous_size(
    visits: dict[str, Visit], name: str
) -> None:
    page = visits[name].at()
    sizes = page.eval_on_selector_all(
        "img", "all => all.map(i => [i.complete, i.naturalWidth, i.getBoundingClientRect().width])"
    )
    assert len(sizes) > 40
    assert all(complete and natural > 0 and shown >= 70 for complete, natural, shown in sizes)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 820, 1001, 1280])
@pytest.mark.parametrize("name", ["coloured", "digits"])
def test_nothing_sticks_out_sideways(
    visits: dict[str, Visit], name: str, width: int, scheme: str
) -> None:
    page = visits[name].at(width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    cut = page.evaluate(
        """() => [...document.querySelectorAll('main *')]
        .filter(e => e.getBoundingClientRect().right > innerWidth + 0.5
                     || (e.scrollWidth > e.clientWidth + 1
                         && getComputedStyle(e).overflowX !== 'visible'))
        .map(e => e.className || e.tagName)"""
    )
    assert cut == []


def test_the_truth_is_outlined_in_the_strips(visits: dict[str, Visit]) -> None:
    page = visits["coloured"].at()
    outlines = page.eval_on_selector_all(
        ".strip .truth img", "all => all.map(i => getComputedStyle(i).outline)"
    )
    plain = page.eval_on_selector_all(
        ".strip li:not(.truth) img", "all => all.map(i => getComputedStyle(i).outlineStyle)"
    )
    assert outlines
    assert all("solid 3px" in outline for outline in outlines)
    assert set(plain) == {"none"}
    seen = page.eval_on_selector_all(
        ".strip .truth", "all => all.map(t => t.closest('.line').querySelector('img').src)"
    )
    found = page.eval_on_selector_all(".strip .truth img", "all => all.map(i => i.src)")
    assert found == seen


def test_missing_networks_are_named_where_a_reader_looks(visits: dict[str, Visit]) -> None:
    text = visits["coloured"].at().inner_text(".missing")
    for network in NETWORKS.values():
        assert network.title in text
        assert network.weights.rpartition("/")[2] in text


def test_warnings_are_read_first_and_findings_unfold(visits: dict[str, Visit]) -> None:
    page = visits["warned"].at()
    assert "tells clusters apart" in page.inner_text(".problems")
    marks = page.eval_on_selector_all("#checks .mark", "all => all.map(m => m.innerText)")
    assert marks[0] == "warning"
    assert "warning" not in marks[1:]
    assert page.locator(".checks").inner_text().count("never saw a brain") == 1
    top, belief, training = (
        page.locator(s).bounding_box()["y"] for s in ("#metrics", "#checks", "#training")
    )
    assert top < belief < training


@pytest.mark.parametrize("width", [390, 1280])
def test_letters_of_references_do_not_cover_each_other(
    visits: dict[str, Visit], width: int
) -> None:
    page = visits["coloured"].at(width)
    gaps = page.eval_on_selector_all(
        ".rowdot .letters",
        """all => all.flatMap(row => {
          const left = [...row.querySelectorAll('b')].map(b => b.getBoundingClientRect().left);
          left.sort((a, b) => a - b);
          return left.slice(1).map((x, i) => x - left[i]); })""",
    )
    assert len(gaps) > 10
    assert min(gaps) >= 12  # letters are 14 px wide


def test_figures_of_controls_have_a_height_and_stay_in_their_frame(
    visits: dict[str, Visit],
) -> None:
    page = visits["coloured"].at(390)
    sizes = page.eval_on_selector_all(
        "#checks .curve", "all => all.map(c => c.querySelector('svg').getBoundingClientRect())"
    )
    assert len(sizes) >= 4
    assert all(box["height"] > 100 and box["right"] <= 390 for box in sizes)
    tracks = page.eval_on_selector_all(
        "#checks .track", "all => all.map(t => t.getBoundingClientRect().width)"
    )
    assert len(tracks) > 20
    assert min(tracks) > 100


def test_systems_that_did_not_run_have_no_column(visits: dict[str, Visit]) -> None:
    heads = visits["digits"].at().locator("#pictures .head").first.inner_text()
    assert heads.split("\n") == ["Seen", "High level"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_the_paper(visits: dict[str, Visit], scheme: str) -> None:
    page = visits["warned"].at(scheme=scheme)
    contrast = """selector => {
      const lum = c => { const [r, g, b] = c.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
          .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
      const paper = e => { const c = getComputedStyle(e).backgroundColor;
        return c === 'rgba(0, 0, 0, 0)' && e.parentElement ? paper(e.parentElement) : c; };
      const found = document.querySelector(selector);
      const a = lum(getComputedStyle(found).color), b = lum(paper(found));
      return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); }"""
    plain = ("h1", ".sentence", ".lead", ".who", ".rowdot > span", ".tile dt", "footer")
    belief = (
        ".problems li", ".checks p", ".checks .passed > .mark", ".checks .warning > .mark",
        ".checks summary", ".letters .is-floor", ".letters .is-ceiling", ".beside > span",
        ".evidence .caption", ".curve .keys span", ".notes li", "td.floor", "tr.metric small",
    )  # fmt: skip
    for selector in (*plain, *belief):
        assert page.evaluate(contrast, selector) >= 4.5, selector
