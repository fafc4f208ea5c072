"""The report in a browser, headless Chromium: by mouse and keyboard, on wide and narrow screens, by day and night.

Skipped where Debian's chromium and chromium-driver, or axe-core (`npm ci --prefix tests`), are not there.
"""

import base64
import json
import os
import re
import shutil
from pathlib import Path

import pytest
from conftest import wait_until
from html_page import Page
from report_builder import HOSTILE, LABELS, VEGETABLES, Made, answers, make_rich, name_everything, run
from test_many_models import SHOWN, make_many

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.common.print_page_options import PrintOptions  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
AXE = Path(__file__).parent / "node_modules/axe-core/axe.min.js"
FLAGS = [
    "--headless=new",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
WIDE, NARROW = 1440, 390
LOOKS = [
    pytest.param(width, dark, id=f"{width} px, {'dark' if dark else 'light'}")
    for width in (WIDE, NARROW)
    for dark in (False, True)
]

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="chromium and chromium-driver are not installed"
)


class Browser:
    """Chromium, and what the tests do with it."""

    def __init__(self, profile):
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        # Chromium does not sandbox what root starts.
        for flag in [*FLAGS, f"--user-data-dir={profile}", *["--no-sandbox"] * (os.getuid() == 0)]:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        self.driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))

    def do(self, command, **arguments):
        return self.driver.execute_cdp_cmd(command, arguments)

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def show(self, made, width=WIDE, dark=False, media=""):
        """Open the report of a made-up study on a screen of that width."""
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.do("Emulation.setDeviceMetricsOverride", **screen)
        colours = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.do("Emulation.setEmulatedMedia", media=media, features=[colours])
        self.url = (made / "results/report.html").as_uri()
        self.driver.get(self.url)

    def open_all(self):
        """Open everything that is folded away."""
        self.run("for (const part of document.querySelectorAll('details')) part.open = true")

    def head(self, table, column):
        """Return the head of a column of the table with that label."""
        heads = self.driver.find_elements("css selector", f"[aria-label='{table}'] thead th")
        return next(head for head in heads if head.text.rstrip("\xa0 ↕↑↓") == column)

    def column(self, table, number):
        """Return the texts of a column, as they stand in the body of the table now."""
        script = """return [...document.querySelector(`[aria-label='${arguments[0]}'] table`).tBodies[0].rows]
            .map(row => row.cells[arguments[1]].textContent.trim())"""
        return self.run(script, table, number)

    def close(self):
        self.driver.quit()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_rich(tmp_path_factory.mktemp("page")).write()


@pytest.fixture(scope="module")
def done(made):
    """The finished runs, in the order of the page."""
    return [one for one in made.numbers["runs"] if one["status"] == "done"]


class TestLoading:
    def test_no_console_message_and_no_request_to_anywhere(self, browser, made):
        for kind in ("browser", "performance"):
            browser.driver.get_log(kind)  # what came before
        browser.show(made)
        browser.open_all()
        browser.run("window.scrollTo(0, document.body.scrollHeight)")
        assert browser.driver.get_log("browser") == []
        events = [json.loads(entry["message"])["message"] for entry in browser.driver.get_log("performance")]
        asked = [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]
        assert browser.url in asked
        assert [url[:99] for url in asked if url != browser.url and not url.startswith("data:")] == []

    def test_every_picture_is_shown(self, browser, made):
        browser.show(made)
        browser.open_all()
        broken = "return [...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.alt)"
        assert browser.run(broken) == []

    def test_hostile_names_run_nothing(self, browser, tmp_path):
        browser.driver.get_log("browser")
        browser.show(name_everything(tmp_path, HOSTILE))  # an alert would make what follows fail
        assert browser.driver.title == f"{tmp_path.name}: model comparison"
        assert browser.run("return document.scripts.length") == 1
        assert browser.run("return document.querySelector('main').textContent").count(HOSTILE[0]) > 3
        assert browser.driver.get_log("browser") == []

    def test_without_javascript_the_tables_are_complete(self, browser, made):
        browser.do("Emulation.setScriptExecutionDisabled", value=True)
        try:
            browser.show(made)
            # The driver's own scripts may still look at the page. With those of pages off, it does not wait.
            here = "return document.URL === arguments[0] && document.readyState === 'complete'"
            wait_until(lambda: browser.run(here, browser.url), "the page")
            html = browser.driver.page_source
        finally:
            browser.do("Emulation.setScriptExecutionDisabled", value=False)
        page = Page(html)
        assert page.tables == made.page.tables
        assert "button" not in {tag for tag, _ in page.elements}
        assert not page.attributes("th", "aria-sort")


class TestSorting:
    """A click on a head sorts, largest first; a second one the other way round."""

    def sorted_by(self, browser, table, column):
        """Return the names in the first column as they stand after one and after two clicks."""
        head = browser.head(table, column)
        number = browser.run("return arguments[0].cellIndex", head)
        orders = []
        for state in ("descending", "ascending"):
            head.find_element("css selector", "button").click()
            assert head.get_attribute("aria-sort") == state
            orders.append(browser.column(table, number))
        return orders

    def test_counts_with_narrow_spaces(self, browser, made, done):
        browser.show(made)
        counts = sorted({one["training"]["parameters"] for one in done})
        assert counts == [1234, 12345, 98765, 345678, 23456789]
        down, up = self.sorted_by(browser, "Cost of the models", "parameters")
        assert list(dict.fromkeys(up)) == [
            "1\u202f234",
            "12\u202f345",
            "98\u202f765",
            "345\u202f678",
            "23\u202f456\u202f789",
        ]
        assert list(dict.fromkeys(down)) == list(dict.fromkeys(up))[::-1]

    def test_sizes(self, browser, made, done):
        browser.show(made)
        _, up = self.sorted_by(browser, "Cost of the models", "size on disk")
        assert list(dict.fromkeys(up)) == ["4.94 kB", "49.4 kB", "395 kB", "1.38 MB", "93.8 MB"]

    def test_durations(self, browser, made, done):
        browser.show(made)
        down, up = self.sorted_by(browser, "Cost of the models", "training time")
        assert up == ["42 s", "42 s", "60 s", "61 s", "3 min 06 s", "3 min 07 s", "2 h 10 min", "2 h 10 min"]
        assert down == up[::-1]

    def test_what_is_missing_comes_last_either_way(self, browser, made, done):
        browser.show(made)
        down, up = self.sorted_by(browser, "Test results of the models", "log loss")
        losses = sorted(one["test"]["log_loss"] for one in done if one["test"]["log_loss"] is not None)
        assert up == [*(f"{loss:.3f}" for loss in losses), "–"]
        assert down == [*(f"{loss:.3f}" for loss in losses[::-1]), "–"]

    def test_intervals_and_estimates_by_their_first_number(self, browser, made, done):
        browser.show(made)
        down, _ = self.sorted_by(browser, "Test results of the models", "interval")
        lows = sorted((f"{one['test']['interval'][0]:.3f}" for one in done), reverse=True)
        assert [cell[:5] for cell in down] == lows
        _, up = self.sorted_by(browser, "Distance on the scale", "mean absolute error")
        errors = [one["test"]["ordered"]["mean_absolute_error"]["value"] for one in done]
        assert [cell[:5] for cell in up] == [
            *(f"{value:.3f}" for value in sorted(value for value in errors if value is not None)),
            "–",
        ]

    def test_probabilities_too_small_to_print(self, browser, tmp_path):
        rows = {"good": range(5), "like": range(3, 9), "bad": range(60)}
        runs = [run(name, answers(LABELS, 4, wrong)) for name, wrong in rows.items()]
        made = Made(tmp_path, VEGETABLES, LABELS, runs).write()
        browser.show(made)
        _, up = self.sorted_by(browser, "Pairs of models", "corrected p")
        values = sorted(pair["p_holm"] for pair in made.numbers["comparison"]["pairs"])
        assert values[0] < 0.0001 < values[-1]
        assert up == ["< 0.0001" if value < 0.0001 else f"{value:.4f}" for value in values]

    def test_words_by_the_alphabet_and_classes_that_are_numbers_as_numbers(self, browser, made):
        browser.show(made)
        down, up = self.sorted_by(browser, "Cost of the models", "model")
        assert up == sorted(up) and down == up[::-1] and set(up) > {"large", "broken"}
        _, up = self.sorted_by(browser, "Images of each class", "class")
        assert up == ["1", "2", "3", "4", "5", "10"]

    def test_one_column_at_a_time_is_the_sorted_one_and_sums_stay_below(self, browser, made):
        browser.show(made)
        for column in ("test", "weight"):
            browser.head("Images of each class", column).find_element("css selector", "button").click()
        script = """const table = document.querySelector("[aria-label='Images of each class'] table");
            return [[...table.tHead.rows[0].cells].map(c => c.getAttribute("aria-sort")),
                    table.tBodies[0].rows.length, table.rows[table.rows.length - 1].cells[0].textContent]"""
        states, rows, last = browser.run(script)
        assert states == ["none"] * 7 + ["descending"]
        assert (rows, last) == (6, "all")

    def test_by_keyboard_alone(self, browser, made):
        browser.show(made)
        focused = "return document.activeElement.textContent + '|' + document.activeElement.tagName"
        for _ in range(60):
            ActionChains(browser.driver).send_keys(Keys.TAB).perform()
            if browser.run(focused) == "test accuracy|BUTTON":
                break
        else:
            pytest.fail("Tab does not reach the head “test accuracy”")
        outline = "return getComputedStyle(document.activeElement).outlineStyle"
        assert browser.run(outline) != "none"  # it is seen where one is
        down = sorted((row["accuracy"] for row in made.models), key=float, reverse=True)
        for key, expected in ((Keys.ENTER, down), (Keys.SPACE, down[::-1])):
            ActionChains(browser.driver).send_keys(key).perform()
            assert browser.column("Test results of the models", 2) == [f"{float(v):.3f}" for v in expected]
        assert (
            browser.head("Test results of the models", "test accuracy").get_attribute("aria-sort")
            == "ascending"
        )


def find_violations(browser):
    """Return what axe-core finds wrong with the page that is shown."""
    browser.run(AXE.read_text(encoding="utf-8"))
    run = "axe.run({resultTypes: ['violations']}).then(found => arguments[0](found.violations))"
    return [
        (
            rule["id"],
            rule["help"],
            len(rule["nodes"]),
            rule["nodes"][0]["html"][:200],
            rule["nodes"][0]["any"][:1],
        )
        for rule in browser.driver.execute_async_script(run)
    ]


class TestLooks:
    @pytest.mark.parametrize(("width", "dark"), LOOKS)
    def test_the_page_does_not_scroll_sideways(self, browser, made, width, dark):
        browser.show(made, width, dark)
        browser.open_all()
        assert browser.run("return document.scrollingElement.scrollWidth") <= width
        assert browser.run("return innerWidth") == width  # what is too wide would zoom a telephone out

    def test_on_a_wide_screen_no_table_needs_to_be_scrolled(self, browser, made):
        browser.show(made, WIDE)
        browser.open_all()
        script = """return [...document.querySelectorAll(".wide")].filter(part => part.scrollWidth > part.clientWidth)
            .map(part => part.getAttribute("aria-label"))"""
        assert browser.run(script) == []

    def test_names_of_any_length_do_not_make_it_scroll_sideways(self, browser, tmp_path):
        names = [f"{letter}{'x' * 100}" for letter in "abcdef"]
        long = name_everything(tmp_path, names)
        for width in (WIDE, NARROW):
            browser.show(long, width)
            browser.open_all()
            assert browser.run("return document.scrollingElement.scrollWidth") <= width

    @pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed (npm ci --prefix tests)")
    @pytest.mark.parametrize(("width", "dark"), LOOKS)
    def test_axe_finds_no_violation(self, browser, made, width, dark):
        browser.show(made, width, dark)
        browser.open_all()
        assert find_violations(browser) == []

    def test_it_is_dark_where_that_is_preferred(self, browser, made):
        colours = []
        for dark in (False, True):
            browser.show(made, WIDE, dark)
            colour = browser.run("return getComputedStyle(document.body).backgroundColor")
            colours.append(sum(map(int, re.findall(r"\d+", colour)[:3])))
        assert colours[0] > 700 and colours[1] < 150


class TestPrinting:
    def test_it_prints(self, browser, made):
        browser.show(made)
        document = base64.b64decode(browser.driver.print_page(PrintOptions()))
        assert document.startswith(b"%PDF")
        assert len(re.findall(rb"/Type\s*/Page\b", document)) >= 1

    def test_what_is_folded_away_is_printed(self, browser, made):
        browser.show(made, media="print")
        hidden = """return [...document.querySelectorAll("details")].filter(part =>
            [...part.children].some(child => !child.checkVisibility({contentVisibilityAuto: true})
                                             || child.getBoundingClientRect().height === 0))
            .map(part => part.textContent.trim().slice(0, 40))"""
        assert browser.run(hidden) == []
        assert browser.run("return getComputedStyle(document.querySelector('nav')).display") == "none"


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    return make_many(tmp_path_factory.mktemp("many"), trained=60).write()


class TestManyModels:
    """The page on more models than it can tell in detail."""

    @pytest.mark.parametrize("width", [WIDE, NARROW])
    def test_the_page_does_not_scroll_sideways(self, browser, many, width):
        browser.show(many, width)
        browser.open_all()
        assert browser.run("return document.scrollingElement.scrollWidth") <= width

    def test_a_long_table_scrolls_below_its_head_and_is_reached_by_keyboard(self, browser, many):
        browser.show(many)
        script = """const part = document.querySelector("[aria-label='Test results of the models']");
            part.scrollTop = part.scrollHeight;
            const box = part.getBoundingClientRect(), head = part.querySelector("th").getBoundingClientRect();
            const last = part.querySelector("tbody tr:last-child").getBoundingClientRect();
            return [part.tabIndex, part.scrollHeight - part.clientHeight, Math.abs(head.top - box.top),
                    box.bottom - last.bottom, box.height]"""
        tab, hidden, head, last, height = browser.run(script)
        assert tab == 0 and hidden > 1000 and height < 900
        assert head < 2 and last > -2  # the head is at the top of the window, the last row in it

    def test_sorting_sorts_all(self, browser, many):
        browser.show(many)
        browser.head("Test results of the models", "place").find_element("css selector", "button").click()
        places = browser.column("Test results of the models", 0)
        assert places == [str(place) for place in range(len(places), 0, -1)] and len(places) > 5 * SHOWN

    def test_every_row_is_printed(self, browser, many):
        browser.show(many, media="print")
        cut = """return [...document.querySelectorAll(".tall")].filter(p => p.scrollHeight > p.clientHeight + 1).length"""
        assert browser.run("return document.querySelectorAll('.tall').length") >= 4
        assert browser.run(cut) == 0

    @pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed (npm ci --prefix tests)")
    def test_axe_finds_no_violation(self, browser, many):
        browser.show(many)
        browser.open_all()
        assert find_violations(browser) == []
