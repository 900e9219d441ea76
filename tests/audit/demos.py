"""Judges the demos' pages with axe: as they open, and after a training, in both palettes, on phone and desktop.

``make audit`` runs it after the site. It trains in every demo to the end, which takes some minutes. With a folder, it
leaves pictures there of what it judged.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from audit import CHROMIUM, SCREENS, axe
from playwright.sync_api import sync_playwright

from ftdemo.serving.server import STUDIO, demo_names

COUNTS = ("serious", "critical")
VIEWS = (("light", "desktop"), ("dark", "desktop"), ("light", "phone"), ("dark", "phone"))
MILLISECONDS = 300_000
NOT_OURS = [".upload-container", ".message-row"]
"""Parts of Gradio's own: the area for files says one thing and is named another, a chat's last message has a label."""


@contextmanager
def served() -> Iterator[str]:
    """The address of a server of all demos."""
    command = [sys.executable, "-m", "ftdemo", "serve", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        first = process.stdout.readline() if process.stdout else ""
        yield first.split()[2].rstrip("/")
    finally:
        process.terminate()
        process.wait(30)


def judge(page: Any, name: str, folder: Path | None) -> list[str]:
    """What axe finds on a demo's page, in all views."""
    found: list[str] = []
    for scheme, screen in VIEWS:
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.set_viewport_size(SCREENS[screen])
        page.evaluate("scheme => document.body.classList.toggle('dark', scheme === 'dark')", scheme)
        page.wait_for_timeout(500)
        if folder:
            page.screenshot(path=folder / f"{name}-{scheme}-{screen}.png", full_page=True)
        problems = axe(page, NOT_OURS)
        wide = page.evaluate("document.documentElement.scrollWidth")
        if wide > SCREENS[screen]["width"]:
            problems.append(f"serious: {wide} pixels wide")
        found += [f"{problem} on {name} ({scheme}, {screen})" for problem in problems]
    return found


def in_use(page: Any, address: str, name: str, folder: Path | None) -> Iterator[str]:
    """What is found of a demo: as it opens, and when it was used."""
    page.goto(f"{address}/demos/{name}/")
    page.locator("#status", has_text="Ready").wait_for(timeout=MILLISECONDS)
    page.locator("#expected", has_text="about").wait_for(timeout=MILLISECONDS)
    yield from judge(page, f"{name}-opened", folder)
    page.set_viewport_size(SCREENS["desktop"])
    if name == "transfer-learning":
        page.get_by_label("32", exact=True).check()
    else:
        chosen = page.get_by_label(re.compile("number input for Training (examples|texts)"))
        chosen.fill("200" if name == "pre-training" else "16")
        chosen.press("Tab")
    page.get_by_role("button", name="Train").click()
    page.locator("#status", has_text=re.compile("weights trained|Correct with|old questions")).wait_for(
        timeout=MILLISECONDS
    )
    for button in page.locator("#ask").all():
        button.click()
        page.wait_for_timeout(15_000)
    message = page.get_by_label("Your message")
    message.fill("Where is my kettle?")
    message.press("Enter")
    page.wait_for_timeout(5000)
    for accordion in page.locator("button.label-wrap").all():
        accordion.click()
    yield from judge(page, f"{name}-used", folder)


def main(folder: Path | None) -> int:
    """Judge all demos; how many findings count."""
    with served() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        found: list[str] = []
        for name in demo_names():
            if name == STUDIO:
                continue
            found += in_use(browser.new_page(viewport=SCREENS["desktop"]), address, name, folder)
        browser.close()
    print("\n".join(found) or "Nothing is found in the demos.")
    return sum(each.startswith(COUNTS) for each in found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, help="a folder for them")
    asked = parser.parse_args()
    if asked.pictures:
        asked.pictures.mkdir(parents=True, exist_ok=True)
    sys.exit(min(1, main(asked.pictures)))
