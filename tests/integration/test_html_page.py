"""The HTML report in a real browser: on a phone, in the dark, on paper, its single rows filtered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from producer.results.report.build import build_report
from producer.results.report.formats import RENDERERS
from storage.database import Database
from storage.ledger.claims import ClaimedUnit
from storage.schema import TEST
from tests.support.browser import Browser, browser
from tests.support.ledger_data import LedgerRun, answered, example, finish_train, judged, retrieved

ROWS = 30
HOSTILE = '</pre><img src=x onerror="window.broken=1"><script>window.broken=1</script>'

SCROLLED = """return [...document.querySelectorAll('.scroll')]
  .filter((each) => each.scrollWidth > each.clientWidth).length"""
# Words of a plot that its drawing does not hold, and the height of letters in pixels.
OUTSIDE = """return [...document.querySelectorAll('svg text')].filter((each) => {
  const box = each.getBBox(), width = each.ownerSVGElement.viewBox.baseVal.width;
  return box.x < -1 || box.x + box.width > width + 1;
}).map((each) => each.textContent)"""
LETTERS = """return 12 * Math.min(...[...document.querySelectorAll('svg')]
  .map((each) => each.getBoundingClientRect().width / each.viewBox.baseVal.width))"""
# Words of tables that are broken (hashes may be), and how each curve of a plot is drawn.
BROKEN = """return [...document.querySelectorAll('th, .scroll td, .scroll td *')]
  .flatMap((cell) => [...cell.childNodes])
  .filter((node) => node.nodeType === 3)
  .flatMap((node) => [...node.data.matchAll(/[a-z]+/gi)].filter((word) => {
    const range = document.createRange();
    range.setStart(node, word.index);
    range.setEnd(node, word.index + word[0].length);
    return new Set([...range.getClientRects()].map((each) => each.top)).size > 1;
  }).map((word) => word[0]))"""
CURVES = """return [...document.querySelectorAll('svg')].map((svg) => [...svg.querySelectorAll('polyline')]
  .map((line) => {
    const style = getComputedStyle(line), mark = line.nextElementSibling.getAttribute('d') || '';
    return [style.stroke, style.strokeDasharray, mark.replace(/^M[^a-z]*/, '')].join();
  })).filter((lines) => lines.length)"""
VISIBLE = """return [...document.querySelectorAll('article')]
  .filter((each) => !each.hidden && !each.closest('.row').hidden).length"""


@pytest.fixture(scope="module")
def opened() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture
def page(opened: Browser, tmp_path: Path) -> Browser:
    grid = {"shots": [0, 2], "retrieval": [False, True], "rationale": ["none", "star"]}
    return _open(opened, tmp_path, grid)


def _open(opened: Browser, folder: Path, grid: dict[str, object]) -> Browser:
    """Open the page of a run with this grid."""
    db = Database(f"sqlite:///{folder / 'ledger.db'}")
    db.migrate()
    test = [example(row, request=f"sort {row} {HOSTILE if row == 4 else ''}") for row in range(ROWS)]
    run = LedgerRun.plan(db, [example(row) for row in range(5)], test, grid=grid)
    finish_train(run)
    run.finish(TEST, "retrieve", retrieved)

    def answer(unit: ClaimedUnit) -> dict[str, object]:
        right = (unit.example.row * 7 + len(unit.variant)) % 5 < (3 if "retrieval" in unit.variant else 1)
        return answered(unit.example.reference if right else f"x = sorted({HOSTILE}")

    run.finish(TEST, "answer", answer)
    run.finish(TEST, "judge", judged)
    path = folder / "report.html"
    path.write_text(RENDERERS["html"](build_report(db, run.run, page=True)), encoding="utf-8")
    db.close()
    opened.complaints()
    opened.open(path)
    opened.resize(1280)
    opened.scheme("light")
    return opened


def test_page_loads_nothing_and_runs_no_text(page: Browser) -> None:
    assert page.complaints() == []
    assert page.run("return window.broken") is None
    assert page.run("return performance.getEntriesByType('resource').length") == 0
    assert page.run("return document.images.length") == 0


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_page_is_no_wider_than_the_screen(page: Browser, width: int) -> None:
    page.resize(width)
    page.run("for (const each of document.querySelectorAll('details')) each.open = true")
    assert page.run("return document.documentElement.scrollWidth") <= width
    # A table that is cut off at the side can be scrolled; on a phone none needs to be.
    assert width > 390 or page.run(SCROLLED) == 0
    assert page.run(OUTSIDE) == []
    assert page.run(LETTERS) > 10


def test_forty_cells_of_all_axes_fit_a_phone_and_have_names_of_their_own(
    opened: Browser, tmp_path: Path
) -> None:
    grid = {
        "shots": [2], "retrieval": [False, True], "rationale": ["none", "first_pass", "star"],
        "wrong_rationales": [False, True], "augment_exemplars": [False, True], "train_rows": [2, 5],
        "contrasts": ["retrieval"],
    }  # fmt: skip
    page = _open(opened, tmp_path, grid)
    for width in (390, 768, 1280):
        page.resize(width)
        assert page.run("return document.documentElement.scrollWidth") <= width
        assert page.run(BROKEN) == []
    assert page.run(OUTSIDE) == []
    curves = page.run(CURVES)
    assert [len(set(lines)) for lines in curves] == [len(lines) for lines in curves]
    assert max(map(len, curves)) == 10
    assert not any(line.startswith("none") for lines in curves for line in lines)
    names = page.run("return [...document.querySelectorAll('svg[aria-label*=\"each cell\"] text')]"
                     ".map((each) => each.textContent).filter((each) => each.includes('rows'))")  # fmt: skip
    assert len(set(names)) == 20


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(page: Browser, scheme: str) -> None:
    """Contrast of ink, soft words and verdicts with what they stand on: 4.5 at least (WCAG 2, AA)."""
    page.scheme(scheme)
    ratios = page.run("""
      const probe = document.body.appendChild(document.createElement("i"));
      const light = (name) => {
        probe.style.color = `var(--${name})`;
        const [r, g, b] = getComputedStyle(probe).color.match(/\\d+/g).map((v) => v / 255)
          .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const paper = light("paper");
      return ["ink", "soft", "right", "wrong"].map((name) => {
        const [low, high] = [light(name), paper].sort();
        return [name, (Math.max(low, high) + 0.05) / (Math.min(low, high) + 0.05)];
      });""")
    assert len(ratios) == 4
    assert {name for name, ratio in ratios if ratio < 4.5} == set()
    is_dark = page.run("return getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert is_dark == (scheme == "dark")


def test_rows_are_filtered_by_cell_verdict_and_words(page: Browser) -> None:
    count = "return document.querySelector('output').value"
    assert page.run(count) == f"{ROWS} of {ROWS} rows"
    set_ = (
        "const form = document.getElementById('filter'); form.{}.value = '{}';"
        "form.dispatchEvent(new Event('input')); return form.count.value"
    )
    cell = "pupil/0-shot"
    right = sum((row * 7 + len(cell)) % 5 < 1 for row in range(ROWS))
    assert page.run(set_.format("cell", cell)) == f"{ROWS} of {ROWS} rows"
    assert page.run(set_.format("verdict", "right")) == f"{right} of {ROWS} rows"
    assert page.run(VISIBLE) == right
    assert page.run(set_.format("words", "no such words")) == f"0 of {ROWS} rows"
    assert page.run("return document.getElementById('none-found').hidden") is False


def test_paper_shows_everything_but_single_rows(page: Browser) -> None:
    pdf = page.printed()
    assert pdf.startswith(b"%PDF")
    assert pdf.count(b"/Type /Page\n") in range(1, 9)
    page.devtools("Emulation.setEmulatedMedia", media="print")
    shown = "return [...document.querySelectorAll('section')].filter(e => e.offsetHeight).map(e => e.id)"
    sections = page.run(shown)
    page.devtools("Emulation.setEmulatedMedia", media="")
    assert "ablation" in sections
    assert "single-rows" not in sections
