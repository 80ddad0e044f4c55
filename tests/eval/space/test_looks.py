"""Pages for people in a browser, at the width of a phone and of a desk: nothing is cut, the text is there as it was."""

import shutil

import pytest

from salience.eval import cli
from tests.eval.space.test_space_page import HOSTILE, HOSTILE_NAMES, serve
from tests.helpers.predicting import save_model

sync_playwright = pytest.importorskip("playwright.sync_api", reason="make test-extras").sync_playwright
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]
TEXT = f"{HOSTILE}\n\n  A goal\tin the last minute, " + "verylongword" * 20 + " ."
WIDTHS = (390, 1280)


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(params=WIDTHS)
def page(browser, request):
    """A page that must say nothing to the console, and be no wider than its window."""
    page, told = browser.new_page(viewport={"width": request.param, "height": 844}), []
    page.on("console", lambda message: told.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("dialog", lambda dialog: told.append(dialog.message))
    yield page
    assert page.evaluate("document.documentElement.scrollWidth") <= request.param
    assert told == []
    page.close()


@pytest.fixture(scope="module")
def names():
    return {"id2label": HOSTILE_NAMES, "label2id": {name: key for key, name in HOSTILE_NAMES.items()}}


@pytest.fixture(scope="module")
def served(tmp_path_factory, names):
    found = serve(tmp_path_factory.mktemp("served"), **names)
    yield found
    found.page.close()


def test_a_space_shows_the_text_as_it_was(served, page):
    page.goto(served.page.local_url)
    page.get_by_label("Text", exact=True).fill(TEXT)
    page.get_by_role("button", name="Classify").click()
    page.wait_for_selector(".why .bar", timeout=120_000)
    assert "".join(page.locator(".words .text").all_text_contents()) == TEXT
    first, second = (page.locator(".words .text").nth(number).bounding_box() for number in (0, 1))  # "<" and "script"
    assert second["x"] - (first["x"] + first["width"]) == pytest.approx(0, abs=0.5)
    field = page.locator(".words .textfield").bounding_box()
    assert field["x"] >= 0 and field["x"] + field["width"] <= page.viewport_size["width"]


def test_an_explanation_is_a_page_without_network_and_script(page, tmp_path, names):
    model, file = save_model(tmp_path / "model", **names), tmp_path / "why.html"
    flags = ["explain", "--model", str(model), "--text", TEXT, "--output", str(file)]
    assert cli.main(flags, "salience", cli.COMMANDS) == 0
    page.on("request", lambda request: pytest.fail(request.url) if not request.url.startswith("file:") else None)
    page.goto(file.as_uri())
    assert "verylongword" in page.locator("body").inner_text() and page.locator("script").count() == 0
