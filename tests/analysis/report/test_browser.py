"""The report in a real browser: headless Chromium, driven by selenium.

Debian and Ubuntu: ``apt-get install chromium chromium-driver`` (Ubuntu: ``chromium-browser``). Without them these tests
are skipped with a warning.
"""

from __future__ import annotations

import shutil
import warnings

import pytest

from fedbench.analysis.analyses import Analyses
from fedbench.analysis.evidence import Condition
from fedbench.analysis.report import write_report
from tests.analysis.report.test_report import IMAGE, SCRIPT, drawn, evidence, with_pictures

CHROMIUM = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
DRIVER = shutil.which("chromedriver")
try:
    from selenium import webdriver
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.select import Select
except ImportError:
    webdriver = None

LACKING = [
    what
    for what, there in (("chromium", CHROMIUM), ("chromedriver", DRIVER), ("the package selenium", webdriver))
    if not there
]
if LACKING:
    warnings.warn(f"the report is not tested in a browser: no {', no '.join(LACKING)}; see README.md", stacklevel=1)
    pytest.skip(f"no {', no '.join(LACKING)}", allow_module_level=True)

CLASH = f"fedprox {IMAGE}"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A report of two conditions with hostile names."""
    folder = tmp_path_factory.mktemp("report")
    conditions = (Condition("heart"), Condition(f"set {SCRIPT}", "MR"))
    found = with_pictures(evidence(conditions, ("local", "fedavg", "fedbn", "fedda-cyclic", CLASH), patients=7))
    figures = [drawn(folder / str(i), c, noisy=True, width=1600) for i, c in enumerate(conditions)]
    return write_report(found, Analyses(found), folder / "report.html", figures)


@pytest.fixture(scope="module")
def chromium():
    """One browser for all tests; it logs what the page's console says."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def opened(chromium, page):
    """The page, freshly opened at 1280 pixels; no test may leave an error, nor an alert, nor a request behind."""
    resize(chromium, 1280, 900)
    chromium.get(page.as_uri())
    chromium.execute_script("document.documentElement.style.scrollBehavior = 'auto'")
    yield chromium
    assert chromium.get_log("browser") == []
    assert (
        chromium.execute_script(
            "return performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length"
        )
        == 0
    )


def resize(driver, width, height):
    """Give the page this many CSS pixels."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def one(driver, selector):
    """The first element that fits."""
    return driver.find_element(By.CSS_SELECTOR, selector)


def column(table, number):
    """The texts of a column in the rows that are shown."""
    rows = table.find_elements(By.CSS_SELECTOR, "tbody tr:not([hidden])")
    return [row.find_elements(By.CSS_SELECTOR, "th, td")[number].text.split("\n")[0] for row in rows]


def hidden(element):
    """What the attribute ``hidden`` says; selenium itself only says that there is one."""
    return element.parent.execute_script("return arguments[0].getAttribute('hidden')", element)


def head(table, number):
    """The last heading of a column."""
    return table.find_elements(By.CSS_SELECTOR, "thead tr:last-child > *")[number]


def test_a_table_sorts(opened):
    table = one(opened, "[id='t-main.heart'] table")
    before = column(table, 0)
    cell, button = head(table, 1), head(table, 1).find_element(By.TAG_NAME, "button")
    assert cell.get_attribute("aria-sort") == "none"
    button.click()
    assert cell.get_attribute("aria-sort") == "descending"
    numbers = [float(text) for text in column(table, 1)]
    assert numbers == sorted(numbers, reverse=True) and column(table, 0) != before
    button.click()
    assert cell.get_attribute("aria-sort") == "ascending"
    assert [float(text) for text in column(table, 1)] == sorted(numbers)
    head(table, 2).find_element(By.TAG_NAME, "button").click()
    assert cell.get_attribute("aria-sort") == "none"
    head(table, 2).find_element(By.TAG_NAME, "button").click()
    head(table, 2).find_element(By.TAG_NAME, "button").click()
    assert column(table, 0) == before  # a third time: as it was


def test_a_table_filters(opened):
    sheet = one(opened, "[id='t-patients.heart']")
    words, count = (
        sheet.find_element(By.CSS_SELECTOR, "input[type=search]"),
        sheet.find_element(By.CSS_SELECTOR, ".count"),
    )
    groups = Select(sheet.find_element(By.TAG_NAME, "select"))
    assert [option.text for option in groups.options][:2] == ["cross-modality Dice", "cross-modality HD95 (mm)"]
    assert count.text == "7 rows"
    groups.select_by_visible_text("in-modality Dice")
    words.send_keys("p003")
    assert count.text == "1 of 7 rows" and column(sheet, 0) == ["P003"]
    words.send_keys(" nobody")
    assert sheet.find_element(By.CSS_SELECTOR, ".none").is_displayed()
    words.send_keys(Keys.ESCAPE)
    assert count.text == "7 rows"


def test_the_condition_is_chosen_once_for_the_whole_page(opened):
    first, second = (f"#figures [data-condition='{i}']" for i in (0, 1))
    assert hidden(one(opened, first)) is None
    Select(one(opened, "#condition")).select_by_index(1)
    assert hidden(one(opened, first)) == "until-found"
    assert hidden(one(opened, second)) is None
    assert Select(one(opened, "#case-condition")).first_selected_option.text == f"set {SCRIPT} without MR"

    endpoint = Select(one(opened, "#endpoint-1"))
    shown = [o for o in opened.find_elements(By.CSS_SELECTOR, "#tests-1 .option") if hidden(o) is None]
    assert len(shown) == 1 and "(primary)" in endpoint.first_selected_option.text


def test_a_case_opens(opened):
    panels = one(opened, "#panels")
    titles = [title.text for title in panels.find_elements(By.TAG_NAME, "h4")]
    assert titles == ["Image", "Truth", "local", "fedavg", "fedbn", "fedda-cyclic (our reconstruction)", CLASH]
    picture = "return document.querySelectorAll('#panels canvas')[arguments[0]].toDataURL()"
    before = opened.execute_script(picture, 3)
    Select(one(opened, "#case")).select_by_visible_text("P004/MR")
    assert "P004" in one(opened, "#about").text and "slice 7" in one(opened, "#about").text
    image = panels.find_element(By.TAG_NAME, "img")
    assert opened.execute_script("return arguments[0].complete && arguments[0].naturalWidth", image) == 16
    opened.find_elements(By.CSS_SELECTOR, "#slice input")[2].click()
    assert "slice 9" in one(opened, "#about").text
    other = opened.execute_script(picture, 3)
    assert other != before
    one(opened, "#show-truth").click()
    without_truth = opened.execute_script(picture, 3)
    one(opened, "#show-tint").click()
    without_tint = opened.execute_script(picture, 3)
    one(opened, "#show-prediction").click()
    nothing = opened.execute_script(picture, 3)
    assert len({other, without_truth, without_tint, nothing}) == 4
    drawn_on = """
        const canvas = document.querySelectorAll('#panels canvas')[3];
        return canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some((v) => v);"""
    assert opened.execute_script(drawn_on) is False
    one(opened, "#next").click()
    assert Select(one(opened, "#case")).first_selected_option.text == "P005/CT"


def test_dice_are_those_of_the_clients_model(opened):
    Select(one(opened, "#client")).select_by_visible_text("CT")
    assert "model of client CT (in-modality)" in one(opened, "#about").text
    own = one(opened, "#panels .panel:nth-child(3) .scores").text
    Select(one(opened, "#client")).select_by_visible_text("MR")
    assert "(cross-modality)" in one(opened, "#about").text
    assert one(opened, "#panels .panel:nth-child(3) .scores").text != own


def test_the_keyboard_alone_is_enough(opened):
    """Tab to a heading and press Enter; arrow keys change slice and case; the focus can be seen."""

    def press(*keys):
        opened.switch_to.active_element.send_keys(*keys)

    def tab_to(selector):
        target = one(opened, selector)
        for _ in range(400):
            one(opened, "body").send_keys(Keys.TAB) if opened.switch_to.active_element.tag_name == "body" else press(
                Keys.TAB
            )
            if opened.switch_to.active_element == target:
                return target
        raise AssertionError(f"{selector} is not reached with Tab")

    one(opened, "body").send_keys(Keys.TAB)
    skip = opened.switch_to.active_element
    assert skip.text == "Skip to the summary" and skip.rect["x"] >= 0
    button = tab_to("[id='t-main.heart'] thead tr:last-child th:nth-child(2) button")
    assert opened.execute_script("return getComputedStyle(arguments[0]).outlineStyle", button) == "solid"
    press(Keys.ENTER)
    assert head(one(opened, "[id='t-main.heart'] table"), 1).get_attribute("aria-sort") == "descending"
    tab_to("#case")
    press(Keys.ARROW_DOWN)
    assert "P000, MR" in one(opened, "#about").text
    tab_to("#slice input:checked")
    press(Keys.ARROW_RIGHT)
    assert "slice 9" in one(opened, "#about").text
    tab_to("#show-truth")
    press(Keys.SPACE)
    assert not one(opened, "#show-truth").is_selected()


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_only_tables_and_wide_figures_scroll_sideways(opened, width):
    resize(opened, width, 780)
    for condition in (0, 1):
        Select(one(opened, "#condition")).select_by_index(condition)
        assert opened.execute_script("return document.documentElement.scrollWidth") <= width
    beyond = """
        const scrolls = (e) => e.closest('.scroll, .plate, .nav ul, .unseen') !== null;
        const right = (e) => e.getBoundingClientRect().right;
        return [...document.querySelectorAll('main *')].filter((e) => right(e) > innerWidth + 1 && !scrolls(e))
            .map((e) => e.outerHTML.slice(0, 80));"""
    assert opened.execute_script(beyond) == []
    if width == 360:
        table = one(opened, "#results .condition:not([hidden]) .scroll")
        assert opened.execute_script("return arguments[0].scrollWidth > arguments[0].clientWidth", table)
        assert opened.execute_script("return getComputedStyle(document.querySelector('.nav')).position") == "sticky"


def test_dark_where_the_reader_wants_it(opened):
    def ground():
        return opened.execute_script("return getComputedStyle(document.body).backgroundColor")

    light = ground()
    for scheme, same in (("dark", False), ("light", True)):
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        assert (ground() == light) is same


def test_paper_shows_all_conditions_and_no_controls(opened):
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        shown = "return getComputedStyle(document.querySelector(arguments[0])).display"
        assert opened.execute_script(shown, "#results [data-condition='1']") == "block"
        for part in (".nav", ".tools", "#cases", "[id='t-patients.heart']"):
            assert opened.execute_script(shown, part) == "none"
    finally:
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_nothing_in_a_name_runs(opened):
    assert opened.execute_script("return document.querySelectorAll('img[src=x], [onerror]').length") == 0
    assert CLASH in one(opened, "#summary").text


def test_a_link_into_another_condition_opens_it(opened, page):
    target = one(opened, "#results [data-condition='1'] .sheet").get_attribute("id")
    opened.execute_script("location.hash = arguments[0]", f"#{target}")
    opened.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    assert Select(one(opened, "#condition")).first_selected_option.text == f"set {SCRIPT} without MR"


def test_one_condition_needs_no_choice_and_may_have_no_slices(opened, tmp_path):
    found = evidence(algorithms=("fedavg", "fedprox"))
    opened.get(write_report(found, Analyses(found), tmp_path / "r.html", []).as_uri())
    assert opened.find_elements(By.CSS_SELECTOR, ".condition-pick") == []
    assert one(opened, "#no-cases").is_displayed() and not one(opened, "#case").is_displayed()
    assert one(opened, "[id='t-main.toy']").is_displayed()
