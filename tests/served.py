"""What tests of servers and of browsers share: a server of ours in a process of its own, and where the browser is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
RUN_SECONDS = 600
"""A short run takes seconds, on a busy machine minutes; by then it hangs."""
START_SECONDS = 180
"""Importing gradio, torch and transformers takes some seconds, on a busy machine many; by then it hangs."""
STOP_SECONDS = 60
"""A server ends within a second; by then it hangs."""


@dataclass(frozen=True)
class Server:
    url: str
    process: subprocess.Popen[bytes]
    output: Any
    """A file that takes what the process says: a pipe that nobody reads would fill, and make it wait."""

    def said(self) -> str:
        return Path(self.output.name).read_text(encoding="utf-8")


def start(*arguments: str, **variables: str) -> Server:
    """`ftdemo ARGUMENTS` on a free port, once it says that it is ready."""
    command = [sys.executable, "-m", "ftdemo", *arguments, "--port", "0"]
    output = tempfile.NamedTemporaryFile(prefix="ftdemo-server-")  # noqa: SIM115 (it goes with the server)
    process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **variables})
    running = Server("", process, output)
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if ready := re.search(r"Ready at (http://\S+)/", running.said()):
            return replace(running, url=ready[1])
        time.sleep(0.05)
    process.kill()
    raise AssertionError(f"ftdemo {' '.join(arguments)} did not start:\n{running.said()}")
