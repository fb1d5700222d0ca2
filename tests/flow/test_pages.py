"""The pages, in a real browser against the running stack."""

import base64
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.expected_conditions import staleness_of
from selenium.webdriver.support.ui import WebDriverWait

from mask_social.demo.pictures import PHOTOS
from moderation.sign_in import second_factor
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


def refused(browser: webdriver.Chrome) -> list[str]:
    """Return what the browser would not load or run since the last call, by the policy of the page."""
    return [entry["message"] for entry in log_of(browser, "browser") if "Content Security Policy" in entry["message"]]


# A list with photos, forms with each kind of field, panels, rows below a row. EVERY_PAGE=1 walks through all of them.
_ONE_OF_EACH_KIND = "admin/$|second|queue|/post/|(campaign|badgerule|user|event|boostpolicy|auditentry)/.+/change"
_PAGES = """
import json, re
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.urls import reverse
found = [reverse("admin:index"), reverse("admin:second_factor"), reverse("admin:moderation_post_queue")]
for model, page in admin.site._registry.items():
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
    found.append(reverse(f"{name}_changelist"))
    row = model._base_manager.order_by("-pk").first()
    if row is not None:
        found.append(reverse(f"{name}_change", args=[quote(row.pk)]))
print(json.dumps(found))
"""
_INJECT = """
const script = document.createElement("script");
script.textContent = "window.injected = true";
document.body.append(script);
document.body.insertAdjacentHTML("beforeend", "<img src=x onerror='window.injected = true'>");
"""


def test_no_page_needs_what_its_policy_forbids(scene: Scene, signed_in: webdriver.Chrome, author: str) -> None:
    scene.finished_post(scene.client.create_post(PHOTOS / "surgical.jpg", author_id=author, caption="Mask on")["id"])
    log_of(signed_in, "browser")
    paths = [path for path in scene.shell(_PAGES) if os.environ.get("EVERY_PAGE") or re.search(_ONE_OF_EACH_KIND, path)]
    assert len(paths) > 8
    for path in [*paths, "/admin/incentives/campaign/add/", "/api/docs"]:
        signed_in.get(scene.stack.url + path)
        wait_for(signed_in, "#nav-sidebar, #content, #main, .opblock")
        assert refused(signed_in) == [], path


@pytest.mark.parametrize("path", ["/admin/", "/api/docs"])
def test_a_script_that_somebody_got_into_a_page_does_not_run(
    scene: Scene, signed_in: webdriver.Chrome, path: str
) -> None:
    signed_in.get(scene.stack.url + path)
    log_of(signed_in, "browser")

    signed_in.execute_script(_INJECT)
    WebDriverWait(signed_in, 20).until(lambda driver: len(refused(driver)) >= 1)
    assert signed_in.execute_script("return window.injected") is None

    # The control: without the policy the same would run.
    signed_in.execute_cdp_cmd("Page.setBypassCSP", {"enabled": True})
    signed_in.get(scene.stack.url + path)
    signed_in.execute_script(_INJECT)
    signed_in.execute_cdp_cmd("Page.setBypassCSP", {"enabled": False})
    assert signed_in.execute_script("return window.injected") is True


def test_somebody_sets_up_a_second_factor_and_signs_in_with_it(scene: Scene, browser: webdriver.Chrome) -> None:
    scene.shell(
        "from django.contrib.auth.models import User\n"
        "user, _ = User.objects.get_or_create(username='tess', is_staff=True, is_superuser=True)\n"
        "user.set_password('a long and lonely road'); user.save()\nprint(1)"
    )

    def fill(**fields: str) -> None:
        for name, value in fields.items():
            wait_for(browser, f"[name={name}]").send_keys(value)
        button = browser.find_element(By.CSS_SELECTOR, "form:has([name=password], [name=code]) button[type=submit]")
        button.click()
        WebDriverWait(browser, 20).until(staleness_of(button))

    def sign_in() -> None:
        browser.delete_all_cookies()
        browser.get(f"{scene.stack.url}/admin/login/")
        fill(username="tess", password="a long and lonely road")

    sign_in()
    wait_for(browser, "#nav-sidebar, #content, #main")
    for theme in ("light", "dark"):
        browser.execute_script(f"localStorage.setItem('adminTheme', '\"{theme}\"')")
        browser.get(f"{scene.stack.url}/admin/second-factor/")
        secret = base64.b32decode(wait_for(browser, "code").text.replace(" ", ""))
        shoot(browser, f"second-factor-{theme}")
    assert browser.find_elements(By.CSS_SELECTOR, "[role=img] svg path")
    fill(password="a long and lonely road", code=second_factor.code_at(secret, second_factor.step_now()))
    codes = [item.text for item in wait_for(browser, "ul li").parent.find_elements(By.CSS_SELECTOR, ".ms-card li")]
    shoot(browser, "recovery-codes")
    assert len(codes) == 10

    sign_in()
    wait_for(browser, "[name=code]")
    shoot(browser, "sign-in-code")
    assert "/admin/login/code/" in browser.current_url
    fill(code=codes[0])
    wait_for(browser, "#nav-sidebar, #content, #main")
    assert browser.current_url.endswith("/admin/")
    sign_in()
    fill(code=codes[0])
    assert "used before" in wait_for(browser, "form").text
    for _ in range(6):
        browser.get(f"{scene.stack.url}/admin/login/code/")
        fill(code="000000")
    assert "Signing in failed too often" in wait_for(browser, "[role=alert]").text
    shoot(browser, "sign-in-locked")


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
