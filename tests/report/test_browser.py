"""The gallery's page in a real browser: it loads nothing, works by keyboard, and fits a phone."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

import pytest

from report.test_gallery import runs

pytestmark = pytest.mark.browser
__all__ = ["runs"]

FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-quic"),
)


@pytest.fixture
def browser(tmp_path) -> Iterator:
    """Debian's Chromium, without a window."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    assert chromium, "make test-browser installs chromium"
    assert chromedriver, "make test-browser installs chromium-driver"
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(chromedriver))
    yield driver
    driver.quit()


def opened(browser, page, width: int = 1200, height: int = 900) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    browser.get(page.as_uri())


def picture(browser) -> str:
    return browser.execute_script("return document.querySelector('.picture').src")


def focused(browser) -> str:
    return browser.execute_script(
        "const at = document.activeElement;"
        "return at.dataset.show ?? at.getAttribute('aria-label') ?? at.textContent.trim()"
    )


def test_it_loads_without_a_word_and_asks_for_nothing(browser, runs):
    import json

    opened(browser, runs / "held" / "gallery.html")
    assert browser.get_log("browser") == []
    asked = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [one["params"] for one in asked if one["method"] == "Network.requestWillBeSent"]
    # Chromium's own first page may still be loading.
    urls = {one["request"]["url"] for one in sent if not one["documentURL"].startswith("chrome:")}
    assert {url.partition(":")[0] for url in urls} <= {"file", "data"}, sorted(urls)
    assert len([url for url in urls if url.startswith("file:")]) == 1
    broken = "return [...document.images].filter((one) => !one.complete || !one.naturalWidth).length"
    assert browser.execute_script(broken) == 0


def test_everything_can_be_reached_and_worked_by_keyboard(browser, runs):
    from selenium.webdriver import ActionChains, Keys

    opened(browser, runs / "held" / "gallery.html")
    final = picture(browser)

    def press(*keys: str) -> None:
        ActionChains(browser).send_keys(*keys).perform()

    reached = []
    for _ in range(12):
        press(Keys.TAB)
        reached.append(focused(browser))
        if reached[-1] == "Moment of training":
            break
    assert reached == ["painting", "start", "change", "Save the PNG", "Play", "Moment of training"]
    press(Keys.HOME)
    assert browser.find_element("css selector", "output").text == "step 0"
    first = picture(browser)
    assert first != final
    press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    slider = browser.find_element("css selector", "input[type=range]")
    assert slider.get_attribute("aria-valuetext") == "step 2"
    assert browser.find_element("css selector", ".picture").get_attribute("alt") == "Step 2 of held"
    marker = browser.find_element("css selector", ".marker")
    # 2 of an axis of 6 steps, whose chart is drawn between 76 and 532
    assert float(marker.get_attribute("x1")) == pytest.approx(76 + 2 / 6 * 456, abs=0.5)
    for _ in range(2):
        ActionChains(browser).key_down(Keys.SHIFT).send_keys(Keys.TAB).key_up(Keys.SHIFT).perform()
    assert focused(browser) == "Save the PNG"
    for name, source, of in (
        ("change", "change", " of held"),
        ("start", "start", " of held"),
        ("painting", "painting", " held"),
    ):
        ActionChains(browser).key_down(Keys.SHIFT).send_keys(Keys.TAB).key_up(Keys.SHIFT).perform()
        assert focused(browser) == name
        press(Keys.SPACE)
        assert picture(browser) == browser.execute_script(f"return document.querySelector('.picture').dataset.{source}")
        pressed = browser.find_elements("css selector", "[data-show][aria-pressed=true]")
        assert [one.get_attribute("data-show") for one in pressed] == [name]
        assert browser.find_element("css selector", ".picture").get_attribute("alt") == f"The {name}{of}"
    assert picture(browser) == final


def test_it_plays_to_the_end_and_stops(browser, runs):
    from selenium.webdriver.support.ui import WebDriverWait

    opened(browser, runs / "free" / "gallery.html")
    play = browser.find_element("css selector", "[data-play]")
    browser.execute_script("const s = document.querySelector('input[type=range]'); s.value = s.max")
    play.click()
    assert play.text == "Pause"
    WebDriverWait(browser, 20).until(lambda _: play.text == "Play")
    assert browser.find_element("css selector", "output").text == "step 6"


def test_a_film_stops_where_another_picture_is_asked_for(browser, runs):
    opened(browser, runs / "free" / "gallery.html")
    play = browser.find_element("css selector", "[data-play]")
    browser.execute_script("const s = document.querySelector('input[type=range]'); s.value = s.min")
    play.click()
    browser.find_element("css selector", "[data-show=start]").click()
    assert play.text == "Play"
    picture = browser.find_element("css selector", ".picture")
    time.sleep(0.6)  # two frames' time
    assert picture.get_attribute("src") == picture.get_attribute("data-start")


@pytest.mark.parametrize("width", [320, 390, 768, 1400])
def test_no_screen_has_to_scroll_sideways_and_fingers_find_the_buttons(browser, runs, width):
    from arttune.report import gallery

    gallery.write([runs / "free", runs / "held"], runs / "both.html")
    opened(browser, runs / "both.html", width, 800)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    small = (
        "return [...document.querySelectorAll('button, .save, summary')].filter((one) => one.offsetHeight < 40).length"
    )
    assert browser.execute_script(small) == 0
    wide = browser.execute_script("return document.querySelector('.picture').getBoundingClientRect().width")
    assert wide > min(0.7 * width, 300)
    assert browser.find_element("css selector", "nav a").get_attribute("href").endswith("#run-0")
