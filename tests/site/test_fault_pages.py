"""The page on which readers find faults: everything on it comes from the record, and reads without JavaScript."""

import json
import os
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import markdown
import pytest
from faulty import fault_record
from served import CHROMIUM, ROOT

from ftdemo.experiments.fault_spec import CASES, find_fault_cases
from ftdemo.experiments.spec import RECORD
from ftdemo.site.fault_pages import FaultPages, fault_page
from ftdemo.site.project import Project

FOUND = find_fault_cases(ROOT / "docs" / "experiments")["find-the-fault"]


class Tags(HTMLParser):
    """Counts tags with a class, and notices those that are left open."""

    def __init__(self) -> None:
        super().__init__()
        self.classes: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.classes += (dict(attrs).get("class") or "").split()
        if tag not in ("br", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page() -> str:
    return fault_page(FOUND.name, FOUND.spec, fault_record(FOUND.spec))


def test_every_case_shows_its_evidence_its_causes_and_its_answer(page: str) -> None:
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert tags.classes.count("ft-fault") == tags.classes.count("ft-fault-answer") == 12
    assert tags.classes.count("ft-evidence") == tags.classes.count("ft-chart") == 13
    for case in FOUND.spec.cases:
        assert f'data-cause="{case.cause}">{FOUND.spec.causes[case.cause]}' in page


def test_no_heading_or_address_names_the_cause(page: str) -> None:
    headings = [line for line in page.splitlines() if line.startswith("## ")]
    assert len(headings) == 13
    assert headings[1].endswith("{ #run-1 }")


def test_numbers_in_the_words_come_from_the_record_and_texts_of_models_are_escaped(page: str) -> None:
    assert "0.43 nats per token" in page
    assert "{heldout" not in page
    assert "<b>lamp</b>" not in page
    assert "&lt;b&gt;lamp" in page
    assert "<code>{p.dtype for p in model.parameters() if p.requires_grad}</code>" in page


def test_no_blank_line_ends_the_html_of_a_case(page: str) -> None:
    for part in page.split('<div class="ft-fault"')[1:]:
        assert "\n\n" not in part.partition("</details>\n</div>")[0]


def test_runs_that_are_not_recorded_are_named_and_not_shown() -> None:
    page = fault_page(FOUND.name, FOUND.spec, None)
    assert "12 runs are not recorded yet. `ftdemo record find-the-fault` records them." in page
    assert "ft-fault" not in page


def test_the_plugin_writes_the_page_of_a_collection(tmp_path: Path) -> None:
    folder = tmp_path / "docs" / "experiments" / FOUND.name
    folder.mkdir(parents=True)
    (folder / CASES).write_bytes((FOUND.folder / CASES).read_bytes())
    plugin = FaultPages(Project(tmp_path))
    assert plugin.runs() == {FOUND.name: ""}
    (folder / RECORD).write_text(json.dumps(fault_record(FOUND.spec)), encoding="utf-8")
    [(path, text)] = FaultPages(Project(tmp_path)).files()
    assert path == tmp_path / "build" / "derived" / "faults" / "find-the-fault.md"
    assert "## 12. " in str(text)
    assert FaultPages(Project(tmp_path)).runs() == {FOUND.name: "2026-11-28"}


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None and "CI" not in os.environ, reason="there is no Chromium on this machine")
def test_a_case_is_answered_by_keyboard_and_the_browser_remembers_it(page: str, browser: Any) -> None:
    script = (ROOT / "docs" / "assets" / "find-the-fault.js").read_text(encoding="utf-8")
    html = f"{markdown.markdown(page, extensions=['attr_list', 'md_in_html'])}<script type=module>{script}</script>"
    tab = browser.new_context().new_page()
    tab.route("**/*", lambda route: route.fulfill(body=html, content_type="text/html; charset=utf-8"))
    tab.goto("http://faults.test/")
    case = tab.locator(".ft-fault").first
    cause, said, answer = case.get_attribute("data-cause"), case.locator(".ft-fault-said"), case.locator(".ft-why-not")
    wrong = case.locator(f".ft-causes li:not([data-cause={cause}]) button").first
    wrong.focus()
    tab.keyboard.press("Enter")
    assert wrong.inner_text().startswith("✗ Not this: ")
    assert said.inner_text().startswith("Not this one. ")
    assert not answer.is_visible()
    case.locator(".ft-causes button").first.focus()
    right = case.locator(f".ft-causes [data-cause={cause}] button")
    for _ in range(len(FOUND.spec.causes)):
        if right.evaluate("button => button === document.activeElement"):
            break
        tab.keyboard.press("Tab")
    tab.keyboard.press("Space")
    assert said.inner_text().startswith("Found.")
    assert answer.is_visible()
    tab.reload()
    assert tab.locator(".ft-path-said").inner_text().startswith("1 of 12 found, 0 at the first try")
    assert right.inner_text().startswith("✓ Right: ")
    tab.get_by_role("button", name="Start again").click()
    assert tab.locator(".ft-path-said").inner_text().startswith("0 of 12 found")
    assert not answer.is_visible()
    tab.context.close()
