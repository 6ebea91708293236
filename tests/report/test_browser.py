"""The report as a browser shows it: headless Chromium."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from browser import CHROMIUM, Browser
from pages import capture_with_stacks, whole_result

from peephole.report.html import write_report

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

#: contrast of each text with what lies behind it, by the WCAG's formula; SVG text counts with its fill
CONTRAST = """(() => {
  const channel = v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const rgb = s => (s.match(/[\\d.]+/g) || []).map(Number);
  const light = c => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
  const behind = e => { for (; e; e = e.parentElement) {
    const c = rgb(getComputedStyle(e).backgroundColor); if (c.length && (c.length < 4 || c[3] > 0)) return c; }
    return [255, 255, 255]; };
  const worst = [];
  for (const e of document.querySelectorAll('h1,h2,h3,p,td,th,caption,dt,dd,a,li,pre,figcaption,summary,b,span,text')) {
    if (e.classList.contains('frame')) continue;
    const s = getComputedStyle(e), front = rgb(e.tagName === 'text' ? s.fill : s.color), back = behind(e);
    const [a, b] = [light(front), light(back)].sort((x, y) => y - x);
    worst.push([(a + 0.05) / (b + 0.05), e.tagName + ': ' + e.textContent.slice(0, 40)]);
  }
  return worst.sort((x, y) => x[0] - y[0])[0];
})()"""
#: roles that a person who does not see the page must be able to tell apart
NAMED = {"link", "image", "graphics-document", "table", "region", "heading", "navigation", "img", "DisclosureTriangle"}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    folder = tmp_path_factory.mktemp("report")
    capture_with_stacks(folder / "capture")
    write_report(whole_result(), folder / "report.html")
    with Browser() as one:
        one.open(folder / "report.html")
        yield one


def test_nothing_is_asked_of_the_network_and_nothing_complained_of(browser: Browser) -> None:
    requests = [e["params"]["request"]["url"] for e in browser.events if e.get("method") == "Network.requestWillBeSent"]
    assert requests and all(url.startswith(("file:", "about:")) for url in requests), requests
    said = [e for e in browser.events if e.get("method") in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown")]
    said += [e for e in browser.events if e.get("method") == "Log.entryAdded"]
    assert not said


def test_no_name_became_markup(browser: Browser) -> None:
    assert browser.ask("document.scripts.length") == 0
    assert browser.ask("document.querySelectorAll('img, iframe, object, link').length") == 0
    assert "<script>" in browser.ask("document.body.innerText")


def test_everything_that_matters_has_a_name(browser: Browser) -> None:
    nodes: list[dict[str, Any]] = browser.call("Accessibility.getFullAXTree")["nodes"]
    nameless = []
    seen = set()
    for node in nodes:
        role = node.get("role", {}).get("value", "")
        if node.get("ignored") or role not in NAMED:
            continue
        seen.add(role)
        if not node.get("name", {}).get("value"):
            nameless.append((role, node.get("properties")))
    assert not nameless
    assert {"link", "table", "heading", "navigation"} <= seen, seen


@pytest.mark.parametrize("pixels", [320, 390, 1200])
def test_nothing_is_wider_than_the_screen(browser: Browser, pixels: int) -> None:
    browser.width(pixels)
    assert browser.ask("document.scrollingElement.scrollWidth") <= pixels


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_letters_can_be_read_in_both_schemes(browser: Browser, scheme: str) -> None:
    browser.scheme(scheme)
    dark = browser.ask("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0] < 128")
    assert dark == (scheme == "dark")
    worst, where = browser.ask(CONTRAST)
    assert worst >= 4.5, where


def test_the_keyboard_reaches_links_tables_and_stories(browser: Browser) -> None:
    browser.width(1000)
    reached = []
    for _ in range(60):
        browser.press("Tab")
        reached.append(browser.ask("document.activeElement.tagName"))
        assert browser.ask("getComputedStyle(document.activeElement).outlineStyle") != "none"
        if reached[-1] == "SUMMARY":
            break
    assert "A" in reached and "DIV" in reached and reached[-1] == "SUMMARY", reached
    browser.press("Enter")
    assert browser.ask("document.activeElement.parentElement.open") is True


def test_it_prints(browser: Browser) -> None:
    pdf = base64.b64decode(browser.call("Page.printToPDF")["data"])
    assert pdf.startswith(b"%PDF") and len(pdf) > 10_000
