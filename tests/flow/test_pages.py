"""The pages, in a real browser against the running stack."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from mask_social.demo.pictures import PHOTOS
from tests.flow.conftest import Scene

pytestmark = pytest.mark.flow
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    if not CHROMIUM or not DRIVER:
        pytest.skip("needs chromium and chromedriver on PATH")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1400,1000",
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def signed_in(browser: webdriver.Chrome, scene: Scene) -> webdriver.Chrome:
    browser.get(f"{scene.stack.url}/admin/login/?next=/admin/")
    if browser.find_elements(By.NAME, "password"):
        browser.find_element(By.NAME, "username").send_keys(scene.admin)
        browser.find_element(By.NAME, "password").send_keys(scene.password)
        browser.find_element(By.CSS_SELECTOR, "form button[type=submit]").click()
        wait_for(browser, "#nav-sidebar, #content, #main")
    return browser


def wait_for(browser: webdriver.Chrome, selector: str) -> WebElement:
    return WebDriverWait(browser, 20).until(lambda driver: driver.find_element(By.CSS_SELECTOR, selector))


def log_of(browser: webdriver.Chrome, kind: str) -> list[dict[str, Any]]:
    """Return what the browser logged since the last call."""
    entries: list[dict[str, Any]] = browser.get_log(kind)  # type: ignore[no-untyped-call]  # selenium leaves it untyped
    return entries


def shoot(browser: webdriver.Chrome, name: str) -> None:
    """Leave a picture for whoever wants to look, where $SCREENSHOTS says."""
    if folder := os.environ.get("SCREENSHOTS"):
        browser.save_screenshot(str(Path(folder) / f"{name}.png"))


def test_a_moderator_sees_the_photo_its_faces_and_the_verdict(
    scene: Scene, signed_in: webdriver.Chrome, author: str
) -> None:
    masked = scene.client.create_post(PHOTOS / "surgical.jpg", author_id=author, caption="Mask on")
    scene.finished_post(masked["id"])
    post = scene.client.create_post(PHOTOS / "crowd.jpg", author_id=author, caption="All of us")
    post = scene.finished_post(post["id"])

    signed_in.get(f"{scene.stack.url}/admin/moderation/post/?q={author}")
    thumbnail = wait_for(signed_in, "#result_list img")
    WebDriverWait(signed_in, 20).until(lambda _: int(thumbnail.get_property("naturalWidth")) > 0)  # type: ignore[arg-type]
    shoot(signed_in, "posts")

    signed_in.get(f"{scene.stack.url}/admin/moderation/post/{post['id']}/change/")
    boxes = WebDriverWait(signed_in, 20).until(lambda driver: driver.find_elements(By.CSS_SELECTOR, "svg rect"))
    shoot(signed_in, "post")
    assert len(boxes) >= len(post["photos"][0]["faces"]) > 10
    assert "masked" in signed_in.find_element(By.TAG_NAME, "body").text.lower()


def test_the_programme_manager_sees_how_much_of_the_budget_is_left(
    scene: Scene, signed_in: webdriver.Chrome, author: str
) -> None:
    masked = scene.client.create_post(PHOTOS / "surgical.jpg", author_id=author, caption="Something to list")
    scene.finished_post(masked["id"])
    for page in ("campaign", "delivery", "badgeaward", "match", "event"):
        signed_in.get(f"{scene.stack.url}/admin/incentives/{page}/")
        wait_for(signed_in, "#result_list")
        shoot(signed_in, page)
    signed_in.get(f"{scene.stack.url}/admin/incentives/campaign/")
    assert wait_for(signed_in, "#result_list [role=img], #result_list [role=progressbar], #result_list meter")


_DRAWN = """
const empty = (canvas) => !canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some(Boolean);
return [...document.querySelectorAll(".dash canvas")].filter(empty).map((canvas) => canvas.id);
"""
_OUT_OF_REACH = """
const reachable = (element) => { element.focus(); return document.activeElement === element; };
return [...document.querySelectorAll(".dash :is(a, button, select, summary, [tabindex])")]
    .filter((element) => element.checkVisibility() && !reachable(element)).map((element) => element.outerHTML);
"""


def test_the_dashboard_draws_its_charts_in_both_themes_and_within_reach_of_the_keyboard(
    scene: Scene, signed_in: webdriver.Chrome
) -> None:
    if not scene.shell("from incentives.seed import is_seeded; print(str(is_seeded()).lower())"):
        scene.manage("seed", "--posts", "1000")
    log_of(signed_in, "browser")
    log_of(signed_in, "performance")
    inks = set()
    for theme in ("light", "dark"):
        signed_in.execute_script(f"localStorage.setItem('adminTheme', '\"{theme}\"')")
        signed_in.get(f"{scene.stack.url}/admin/?days=90&platform=seeded")
        dash = wait_for(signed_in, ".dash")
        shoot(signed_in, f"dashboard-{theme}")
        inks.add(dash.value_of_css_property("color"))
        assert len(signed_in.find_elements(By.CSS_SELECTOR, ".dash canvas")) > 5
        assert signed_in.execute_script(_DRAWN) == []
        assert signed_in.execute_script(_OUT_OF_REACH) == []
    assert len(inks) == 2
    assert [entry for entry in log_of(signed_in, "browser") if entry["level"] == "SEVERE"] == []
    messages = [json.loads(entry["message"])["message"] for entry in log_of(signed_in, "performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith((scene.stack.url, "data:", "blob:"))] == []


def test_the_api_pages_load_without_asking_anybody_else(scene: Scene, browser: webdriver.Chrome) -> None:
    log_of(browser, "performance")  # what came before
    browser.get(f"{scene.stack.url}/api/docs")
    wait_for(browser, ".opblock")
    shoot(browser, "docs")

    messages = [json.loads(entry["message"])["message"] for entry in log_of(browser, "performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    # chrome: is the browser's own start page, still loading where this test comes first.
    elsewhere = [url for url in asked if not url.startswith((scene.stack.url, "data:", "blob:", "chrome:"))]
    assert asked
    assert elsewhere == []
    severe = [entry for entry in log_of(browser, "browser") if entry["level"] == "SEVERE"]
    assert severe == []
