"""The report as a person sees it, in a browser: `make test` uses Chromium where there is one."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from moreso import Knowledge, Settings, Synthesizer, report

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

SCREENSHOTS = Path(__file__).parents[1] / "artifacts"
"""Where the screenshots are kept, to look at; git ignores it."""

EVIL = "<script>window.harmed = 1</script>"
KNOWLEDGE = Knowledge.parse(f'''
    "outlet": +inlet > ambient  # "><img src=x onerror="window.harmed = 1">
    "{EVIL}": inlet > ambient  # it's & "quoted"
    {{inlet, outlet}}: flow > region
    outlet: inlet > region
''')


def table(rows: int = 120) -> pd.DataFrame:
    random = np.random.default_rng(0)
    inlet = random.normal(size=rows)
    return pd.DataFrame(
        {
            "inlet": inlet,
            "outlet": inlet + 0.3 * random.normal(size=rows),
            "ambient": random.normal(size=rows),
            "flow": random.poisson(20, size=rows),
            EVIL: inlet + random.normal(size=rows),
            "region": random.choice(["north", "$south$", "<b>east</b>"], size=rows),
        }
    )


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on columns and reasons that are markup."""
    rows = table()
    settings = Settings(members=2)
    fitted = Synthesizer("factor", KNOWLEDGE, max_epochs=20, trust="all", random_state=0, settings=settings)
    found = report(fitted.fit(rows[:60]), rows[60:], training=rows[:60], draws=300)
    place = tmp_path_factory.mktemp("report") / "report.html"
    found.write(place, command="moreso report 'a<b>.model'")
    return place


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


class Visit:
    """A page that was opened, and what went wrong on it."""

    def __init__(self, browser: Any, path: Path, **context: Any) -> None:
        self.page = browser.new_context(viewport={"width": 1120, "height": 900}, **context).new_page()
        self.errors: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())

    def shown(self) -> list[str]:
        """Return the statements that are shown, in order."""
        return [text for text in self.page.locator("#list > li:visible .claim code").all_inner_texts() if text]

    def keep(self, name: str) -> None:
        """Keep a screenshot."""
        SCREENSHOTS.mkdir(exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"report-{name}.png", full_page=True)


@pytest.fixture
def visit(browser: Any, path: Path) -> Iterator[Visit]:
    opened = Visit(browser, path)
    yield opened
    opened.page.context.close()


def test_the_page_stands_alone_and_makes_no_error(visit: Visit, path: Path) -> None:
    assert visit.errors == []
    assert [url for url in visit.asked if not url.startswith("data:")] == [path.as_uri()]
    assert path.stat().st_size < 3_000_000


def test_names_that_are_markup_do_no_harm(visit: Visit) -> None:
    assert visit.page.evaluate("window.harmed") is None
    text = visit.page.inner_text("body")
    assert EVIL in text and '"><img src=x onerror="window.harmed = 1">' in text and 'it\'s & "quoted"' in text
    assert "moreso report 'a<b>.model'" in text
    pictures = visit.page.locator("img").evaluate_all("all => all.map(each => each.alt)")
    assert any(EVIL in alt for alt in pictures)


def test_every_figure_has_a_size_and_says_what_it_shows(visit: Visit) -> None:
    visit.page.locator("details").evaluate_all("all => all.forEach(each => { each.open = true; })")
    pictures = visit.page.locator("img")
    assert pictures.count() >= len(KNOWLEDGE) + 3
    for picture in pictures.all():
        box = picture.bounding_box()
        assert box is not None and min(box["width"], box["height"]) > 50
        assert picture.evaluate("each => each.naturalWidth") > 50
        assert len(picture.get_attribute("alt")) > 20
    visit.keep("open")


def test_the_answer_is_on_the_first_screen(visit: Visit) -> None:
    visit.keep("light")
    for heading in ("Did it hold?", "Did it help?", "What to do next"):
        box = visit.page.get_by_role("heading", name=heading, exact=True).bounding_box()
        assert box is not None and box["y"] + box["height"] < 900


def test_statements_can_be_found_and_sorted(visit: Visit) -> None:
    every = visit.shown()
    assert len(every) == len(KNOWLEDGE) == 5
    visit.page.fill("#find", "QUOTED")
    assert visit.shown() == [f'"{EVIL}": inlet > ambient'] and visit.page.inner_text("#count") == "1 statement"
    visit.page.fill("#find", "")
    chosen = visit.page.locator("#verdict option").nth(1).inner_text()
    visit.page.select_option("#verdict", chosen)
    expected = visit.page.locator(f'#list > li[data-verdict="{chosen}"]').count()
    assert len(visit.shown()) == expected
    visit.page.select_option("#verdict", "")
    for key in ("bits", "data", "with"):
        visit.page.select_option("#sort", key)
        values = visit.page.locator("#list > li").evaluate_all(f"all => all.map(each => Number(each.dataset.{key}))")
        assert values == sorted(values, reverse=True) and len(set(values)) > 1
    visit.page.select_option("#sort", "place")
    assert visit.shown() == every


def test_a_click_opens_the_pairs_of_a_statement(visit: Visit) -> None:
    first = visit.page.locator("#list > li").first
    assert not first.locator("img").is_visible()
    first.locator("summary").click()
    assert first.locator("img").is_visible() and "in data" in (first.locator("img").get_attribute("alt") or "")


def test_without_javascript_everything_can_be_read(browser: Any, path: Path) -> None:
    visit = Visit(browser, path, java_script_enabled=False)
    assert len(visit.shown()) == len(KNOWLEDGE)
    assert not visit.page.locator("#controls").is_visible()
    visit.page.locator("#list summary").first.click()
    assert visit.page.locator("#list img").first.is_visible()
    visit.page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_accessibility_problem(browser: Any, path: Path, scheme: str) -> None:
    visit = Visit(browser, path, color_scheme=scheme)
    visit.page.locator("details").evaluate_all("all => all.forEach(each => { each.open = true; })")
    found = axe.Axe().run(visit.page).response["violations"]
    serious = [(each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in ("serious", "critical")]
    assert serious == []
    visit.keep(scheme)
    visit.page.context.close()


def test_it_prints_with_all_details(visit: Visit) -> None:
    printed = visit.page.pdf(format="A4")
    assert printed.startswith(b"%PDF")
    SCREENSHOTS.mkdir(exist_ok=True)
    (SCREENSHOTS / "report.pdf").write_bytes(printed)
    visit.page.emulate_media(media="print")
    assert not visit.page.locator("nav").is_visible()
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) > 3  # one picture at least for each statement
