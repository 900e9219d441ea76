"""Judges the built site: Lighthouse, axe, valid HTML, links, size of a first view, JavaScript off, a narrow screen.

``make audit`` installs the judges from npm, builds the site, and runs this. It prints a table, and fails where a target
is missed. It is no part of `make test`, because it needs Node.js and the network.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gzip
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

HERE = Path(__file__).parent
TOOLS = HERE / "node_modules"
PAGES = ["", "terms/lora/", "terms/rag/", "terms/", "guides/do-i-need-fine-tuning/"]
"""Home, a flagship, an entry, the index, a guide."""
LEAST = {"performance": 95, "accessibility": 100, "best-practices": 100, "seo": 100}
MOST_BYTES = 120 * 1024
"""Of a first view of a text page, compressed."""
SCREENS: dict[str, Any] = {
    "phone": {"width": 360, "height": 740},
    "desktop": {"width": 1280, "height": 900},
}
NARROW = {"width": 320, "height": 640}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_TEXT = (".html", ".js", ".css", ".svg", ".json", ".xml", ".txt")


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the site as a web host does: compressed, and with what it may be kept for."""

    def do_GET(self) -> None:
        """Send a file."""
        path = Path(self.translate_path(self.path))
        path = path / "index.html" if path.is_dir() else path
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(str(path)))
        self.send_header("Cache-Control", "max-age=31536000")
        if path.suffix in _TEXT:
            content = gzip.compress(content)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # the browser may have gone on to another page
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def serve(site: Path) -> tuple[http.server.ThreadingHTTPServer, str]:
    """A server of the site on a free port, and where it answers."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}/"


def lighthouse(url: str, folder: Path) -> dict[str, int]:
    """Lighthouse's scores of a page on a phone, from 0 to 100."""
    report = folder / "lighthouse.json"
    command = [str(TOOLS / ".bin" / "lighthouse"), url, "--quiet", "--output=json", f"--output-path={report}"]
    flags = "--chrome-flags=--headless=new --no-sandbox --disable-gpu"
    environment = {**os.environ, "CHROME_PATH": str(CHROMIUM)}
    subprocess.run([*command, flags], env=environment, check=True, capture_output=True)
    found = json.loads(report.read_text(encoding="utf-8"))
    for audit in found["audits"].values():
        if audit.get("score") == 0 and audit["scoreDisplayMode"] == "binary":
            print(f"  {url}: {audit['id']}: {audit['title']}")
    return {name: round(100 * (category["score"] or 0)) for name, category in found["categories"].items()}


def validator(site: Path) -> list[str]:
    """What is no valid HTML in the pages."""
    report = HERE / "html.json"
    files = [str(site / page / "index.html") for page in PAGES]
    command = [
        str(TOOLS / ".bin" / "html-validate"),
        "--config",
        str(HERE / ".htmlvalidate.json"),
        f"--formatter=json={report}",
    ]
    subprocess.run([*command, *files], capture_output=True, check=False)
    return [
        f"{result['filePath']}:{message['line']}: {message['ruleId']}: {message['message']}"
        for result in json.loads(report.read_text(encoding="utf-8"))
        for message in result["messages"]
        if message["severity"] == 2
    ]


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value and tag != "base":
                self.targets.append(value)
            if name in ("id", "name") and value:
                self.anchors.add(value)


def broken_links(site: Path) -> Iterator[str]:
    """Internal links and anchors of all pages that lead nowhere."""
    parsed: dict[str, _Links] = {}
    for path in sorted(site.rglob("*.html")):
        parser = _Links()
        parser.feed(path.read_text(encoding="utf-8"))
        place = "/" + path.relative_to(site).as_posix()
        parsed[re.sub(r"index\.html$", "", place)] = parser
    for place, parser in parsed.items():
        if place.endswith("404.html"):  # its addresses are those of the published site
            continue
        for target in parser.targets:
            url, anchor = urldefrag(urljoin(f"http://site{place}", target))
            if urlsplit(url).netloc != "site" or urlsplit(url).path.startswith("/demos/"):
                continue
            way = unquote(urlsplit(url).path)
            if way in parsed:
                if anchor and unquote(anchor) not in parsed[way].anchors and not anchor.startswith("__"):
                    yield f"{place}: #{anchor} is not on {way}"
            elif not (site / way.lstrip("/")).is_file():
                yield f"{place}: {way} is not there"


def axe(page: Any, leave_out: Sequence[str] = ()) -> list[str]:
    """What axe finds on a page outside the parts that are left out, how grave it is first."""
    page.add_script_tag(path=str(TOOLS / "axe-core" / "axe.min.js"))
    found = page.evaluate("parts => axe.run({exclude: parts})", list(leave_out))
    return [
        f"{each['impact']}: {each['id']}: {each['help']}: {node['target']}"
        for each in found["violations"]
        for node in each["nodes"][:3]
    ]


def in_a_browser(base: str) -> Iterator[str]:
    """What is wrong in a real browser: in both palettes, on phone and desktop, without JavaScript, at 320 pixels."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        for scheme in ("light", "dark"):
            for screen, viewport in SCREENS.items():
                settings = {"color_scheme": scheme, "viewport": viewport, "reduced_motion": "reduce"}
                for name, page in _pages(browser, **settings):
                    yield from (f"/{name} ({scheme}, {screen}): {problem}" for problem in _look(page, base, name))
        for name, page in _pages(browser, java_script_enabled=False, viewport=NARROW):
            page.goto(base + name)
            if len(page.locator("article").inner_text().split()) < 100:
                yield f"/{name}: hardly any text without JavaScript"
        for name, page in _pages(browser, viewport=NARROW):
            page.goto(base + name, wait_until="load")
            if (wide := page.evaluate("document.documentElement.scrollWidth")) > NARROW["width"]:
                yield f"/{name}: {wide} pixels wide on a screen of {NARROW['width']}"
        browser.close()


def _pages(browser: Any, **settings: Any) -> Iterator[tuple[str, Any]]:
    """An empty tab for each page that is judged."""
    context = browser.new_context(**settings)
    for name in PAGES:
        page = context.new_page()
        yield name, page
        page.close()
    context.close()


def _look(page: Any, base: str, name: str) -> Iterator[str]:
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith((base, "data:")) else said.append(request.url))
    page.goto(base + name, wait_until="networkidle")
    yield from axe(page)
    yield from (f"console or stranger: {text}" for text in said)


def first_view(site: Path, page: str) -> int:
    """Bytes of a page with its styles, scripts and typefaces, compressed."""
    parser = _Links()
    path = site / page / "index.html"
    text = path.read_text(encoding="utf-8")
    parser.feed(text)
    total = len(gzip.compress(text.encode()))
    for target in dict.fromkeys(parser.targets):
        file = (path.parent / target.partition("?")[0]).resolve()
        if file.suffix in (".css", ".js") and file.is_file():
            total += len(gzip.compress(file.read_bytes()))
        if file.suffix == ".css" and file.is_file():
            fonts = re.findall(r'url\("?([^")]+\.woff2)', file.read_text(encoding="utf-8"))
            total += sum((file.parent / font).stat().st_size for font in fonts)
    return total


def main(site: Path, *, timed: bool) -> int:
    """Judge the site; the number of missed targets.

    Args:
        site: The built site.
        timed: Whether a missed target of speed counts. It is printed anyway; on a busy machine it says little.
    """
    server, base = serve(site)
    missed: list[str] = []
    speed: list[str] = []
    print(f"{'page':34} {'perf':>5} {'a11y':>5} {'best':>5} {'seo':>5} {'kB':>5}")
    for name in PAGES:
        scores, size = lighthouse(base + name, HERE), first_view(site, name)
        print(f"/{name:33} {' '.join(f'{scores[key]:5}' for key in LEAST)} {size // 1024:5}")
        for key, least in LEAST.items():
            if scores[key] < least:
                (speed if key == "performance" else missed).append(f"/{name}: {key} is {scores[key]}, not {least}")
        if size > MOST_BYTES:
            missed.append(f"/{name}: first view takes {size // 1024} kB, more than {MOST_BYTES // 1024}")
    missed += [f"HTML: {problem}" for problem in validator(site)]
    missed += [f"link: {problem}" for problem in broken_links(site)]
    missed += in_a_browser(base)
    server.shutdown()
    print("\n".join(missed + speed) or "Every target is met.")
    return len(missed + speed if timed else missed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site", nargs="?", type=Path, default=Path("site"))
    parser.add_argument("--not-timed", action="store_true", help="a missed target of speed does not count")
    asked = parser.parse_args()
    sys.exit(min(1, main(asked.site, timed=not asked.not_timed)))
