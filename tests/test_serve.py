from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ftdemo.errors import UsageError
from ftdemo.run import Run
from ftdemo.serve import demo_names, load_demo

START_SECONDS = 60
"""Importing gradio, torch and transformers takes some seconds; a minute means that it hangs."""


@dataclass(frozen=True)
class Server:
    url: str
    process: subprocess.Popen[str]


def start(*arguments: str, **variables: str) -> Server:
    """`ftdemo ARGUMENTS` on a free port, once it says that it is ready."""
    command = [sys.executable, "-m", "ftdemo", *arguments, "--port", "0"]
    environment = {**os.environ, **variables}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    assert process.stdout is not None
    deadline = threading.Timer(START_SECONDS, process.kill)
    deadline.start()
    said = ""
    for line in process.stdout:
        said += line
        if ready := re.search(r"Ready at (http://\S+)/", line):
            deadline.cancel()
            return Server(ready[1], process)
    raise AssertionError(f"ftdemo {' '.join(arguments)} did not start:\n{said}")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = start("demo", "lora")
    yield running
    running.process.terminate()
    running.process.wait(30)


@pytest.fixture(scope="module")
def client(server: Server) -> Any:
    from gradio_client import Client

    return Client(f"{server.url}/demos/lora/", verbose=False)


def test_the_demo_trains_through_its_api(client: Any, tmp_path: Path) -> None:
    job = client.submit("smollm2", 8, 4e-3, 16, api_name="/train")
    status, chart, numbers, answers, archive, command = job.result(timeout=300)
    assert "weights moved" in status
    assert chart.count("<circle") > 5  # a dot a step, two or more for the held-out loss, and the legend's two
    assert "2,442,240" in numbers
    assert "--set model=smollm2" in str(command)
    assert "After" in answers
    assert "Press Train" not in answers
    path = archive["value"] if isinstance(archive, dict) else archive
    zipfile.ZipFile(path).extractall(tmp_path)
    assert Run.load(tmp_path / "run").record["status"] == "completed"
    assert "--set examples=16" in str(command)


def test_each_step_is_seen_as_it_happens(client: Any) -> None:
    job = client.submit("tiny", 4, 1e-2, 24, api_name="/train")
    statuses = [output[0] for output in job]
    assert any("Step 1 of" in status for status in statuses)
    assert len(set(statuses)) >= 4


def test_stop_ends_a_run_within_a_step_and_keeps_the_adapter(client: Any, tmp_path: Path) -> None:
    job = client.submit("smollm2", 8, 4e-3, 336, api_name="/train")
    deadline = time.monotonic() + 120
    while not any("Step" in output[0] for output in job.outputs()) and time.monotonic() < deadline:
        time.sleep(0.2)
    client.predict(api_name="/stop")
    result = job.result(timeout=120)
    assert "Stopped early" in result[0]
    archive = result[4]["value"] if isinstance(result[4], dict) else result[4]
    zipfile.ZipFile(archive).extractall(tmp_path)
    assert Run.load(tmp_path / "run").record["status"] == "stopped"


@pytest.mark.parametrize(("rank", "examples"), [(0, 8), (10_000, 8), (8, 0)])
def test_a_value_out_of_range_is_refused_with_a_sentence(client: Any, rank: int, examples: int) -> None:
    with pytest.raises(Exception, match=r"(?i)minimum|maximum|it should be"):
        client.submit("tiny", rank, 4e-3, examples, api_name="/train").result(timeout=60)


def test_a_model_that_cannot_be_had_is_reported_in_the_demo(tmp_path: Path) -> None:
    from gradio_client import Client

    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    running = start("demo", "lora", FTDEMO_CACHE=str(blocked))
    try:
        visitor = Client(f"{running.url}/demos/lora/", verbose=False)
        with pytest.raises(Exception, match=r"(?s)could not be converted.*FTDEMO_CACHE"):
            visitor.predict("smollm2", 8, 4e-3, 8, api_name="/train")
    finally:
        running.process.terminate()
        running.process.wait(30)


def test_only_the_demo_is_served(server: Server) -> None:
    for path in ("/demos/lora/gradio_api/file=/etc/passwd", "/demos/lora/file=/etc/passwd", "/../pyproject.toml"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(server.url + path)
        assert caught.value.code in (403, 404)


def test_the_root_leads_to_the_demo(server: Server) -> None:
    with urllib.request.urlopen(server.url) as answer:
        assert answer.url == f"{server.url}/demos/lora/"


def test_a_page_that_gives_itself_our_address_is_refused(server: Server) -> None:
    request = urllib.request.Request(server.url, headers={"Host": "elsewhere.example"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    assert caught.value.code == 400


def test_a_port_in_use_is_reported_and_another_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "ftdemo", "demo", "lora", "--port", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=START_SECONDS)
    assert done.returncode == 1
    assert f"127.0.0.1:{port} cannot be listened on" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_the_server_quietly() -> None:
    running = start("demo", "lora")
    running.process.send_signal(signal.SIGINT)
    rest, _ = running.process.communicate(timeout=60)
    assert "Traceback" not in rest


def test_an_unknown_demo_is_refused_with_those_there_are() -> None:
    assert "lora" in demo_names()
    for name in ("rola", "../lora", ""):
        with pytest.raises(UsageError, match=r"There is: .*lora"):
            load_demo(name)


def test_no_usage_analytics_are_sent() -> None:
    import gradio.analytics

    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert not gradio.analytics.analytics_enabled()
