from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from served import RUN_SECONDS, START_SECONDS, STOP_SECONDS, Server, start

from ftdemo.cli.main import main
from ftdemo.errors import STOPPED_BY_CTRL_C, ServerError, UsageError
from ftdemo.runs.run import Run
from ftdemo.serving.server import demo_app, demo_names, load_demo, serve
from ftdemo.ui.limits import PUBLIC


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = start("demo", "lora")
    yield running
    running.process.terminate()
    running.process.wait(STOP_SECONDS)


@pytest.fixture(scope="module")
def client(server: Server) -> Any:
    from gradio_client import Client

    return Client(f"{server.url}/demos/lora/", verbose=False)


def submit(client: Any, model: str, rank: float, lr: float, examples: float, key: str = "") -> Any:
    return client.submit(model, rank, f"{lr:g}", examples, False, None, "", key, api_name="/train_lora")


def first_step(job: Any) -> Any:
    """What a demo shows at the first step of a run."""
    return next(output for output in job if "Step" in output[0])


def unpacked(result: Any, folder: Path) -> Run:
    """The run that a demo gave to download."""
    archive = result[5]["value"] if isinstance(result[5], dict) else result[5]
    zipfile.ZipFile(archive).extractall(folder)
    return Run.load(folder / "run")


@pytest.mark.parametrize(
    ("model", "trainable"), [("tiny", "175,104"), pytest.param("smollm2", "2,442,240", marks=pytest.mark.slow)]
)
def test_the_demo_trains_through_its_api(client: Any, tmp_path: Path, model: str, trainable: str) -> None:
    result = submit(client, model, 8, 4e-3, 16).result(timeout=RUN_SECONDS)
    status, chart, numbers, more, answers, _archive, command, _key = result
    assert "weights trained" in status
    assert "the estimate was" in status
    assert chart.count("<circle") > 5  # a dot a step, two or more for the held-out loss, and the legend's two
    assert trainable in numbers
    assert "Singular values" in more
    assert ("--set model=smollm2" in str(command)) == (model == "smollm2")
    assert "After" in answers
    assert "Press Train" not in answers
    run = unpacked(result, tmp_path)
    assert run.record["status"] == "completed"
    assert (run.folder / "notebook.ipynb").exists()
    assert "--set examples=16" in str(command)


def test_each_step_is_seen_as_it_happens(client: Any) -> None:
    job = submit(client, "tiny", 4, 1e-2, 24)
    statuses = [output[0] for output in job]
    assert len({status for status in statuses if re.search(r"Step \d+ of", status)}) >= 3


def test_stop_ends_a_run_within_a_step_and_keeps_the_adapter(client: Any, tmp_path: Path) -> None:
    job = submit(client, "tiny", 8, 4e-3, 160)
    client.predict(first_step(job)[-1], api_name="/stop_lora")
    result = job.result(timeout=RUN_SECONDS)
    assert "Stopped early" in result[0]
    assert unpacked(result, tmp_path).record["status"] == "stopped"


@pytest.mark.parametrize(("rank", "examples"), [(0, 8), (10_000, 8), (8, 0)])
def test_a_value_out_of_range_is_refused_with_a_sentence(client: Any, rank: int, examples: int) -> None:
    with pytest.raises(Exception, match=r"(?i)minimum|maximum|it should be"):
        submit(client, "tiny", rank, 4e-3, examples).result(timeout=RUN_SECONDS)


def test_gradio_is_imported_whatever_the_environment_says_about_the_network() -> None:
    """A SOCKS proxy without its library, an address in brackets, a file of certificates that is not there."""
    settings = {"ALL_PROXY": "socks5://127.0.0.1:9", "no_proxy": "[::1]", "SSL_CERT_FILE": "/nowhere.pem"}
    code = (
        "import os; from ftdemo.serving.server import import_gradio; import_gradio();"
        "print([os.environ[name] for name in ('ALL_PROXY', 'no_proxy', 'SSL_CERT_FILE')])"
    )
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **settings}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{list(settings.values())}\n"


def test_a_model_that_cannot_be_had_is_reported_in_the_demo(tmp_path: Path) -> None:
    from gradio_client import Client

    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    running = start("demo", "lora", FTDEMO_CACHE=str(blocked))
    try:
        visitor = Client(f"{running.url}/demos/lora/", verbose=False)
        with pytest.raises(Exception, match=r"(?s)could not be converted.*FTDEMO_CACHE"):
            submit(visitor, "smollm2", 8, 4e-3, 8).result(timeout=RUN_SECONDS)
    finally:
        running.process.terminate()
        running.process.wait(STOP_SECONDS)


@pytest.mark.slow
def test_adapters_are_switched_on_one_base_and_merging_changes_hardly_a_logit(server: Server) -> None:
    from gradio_client import Client

    client = Client(f"{server.url}/demos/lora/", verbose=False)
    key = submit(client, "tiny", 4, 1e-2, 24).result(timeout=RUN_SECONDS)[-1]
    with pytest.raises(Exception, match="only one adapter"):
        client.predict("Where is my parcel?", "previous adapter", key, api_name="/ask_lora")
    submit(client, "tiny", 16, 1e-2, 40, key).result(timeout=RUN_SECONDS)
    asked = {
        which: client.predict("Where is my parcel, order 48297?", which, key, api_name="/ask_lora")
        for which in ("base model alone", "previous adapter", "latest adapter", "base model alone")
    }
    assert len(set(asked.values())) == 3
    merged = client.predict(key, api_name="/merge_lora")
    assert "answers are the same" in merged


@pytest.mark.slow
def test_full_fine_tuning_is_set_beside_lora_from_the_same_start(server: Server) -> None:
    from gradio_client import Client

    client = Client(f"{server.url}/demos/lora/", verbose=False)
    job = client.submit("tiny", 8, "0.006", 8, True, None, "", "", api_name="/train_lora")
    status, _, _, more, *_ = job.result(timeout=RUN_SECONDS)
    assert "weights trained" in status
    assert '<th scope="col">LoRA</th><th scope="col">Full fine-tuning</th>' in more
    assert '<th scope="row">Trained weights</th><td>175,104</td><td>3,054,528</td>' in more
    assert more.count("<svg") == 1
    assert "Old questions" in more


def test_visitors_who_train_at_once_see_their_place_and_get_their_own_run(server: Server) -> None:
    from gradio_client import Client

    visitors = [Client(f"{server.url}/demos/lora/", verbose=False) for _ in range(3)]
    jobs = [submit(visitor, "tiny", rank, 4e-3, 8) for rank, visitor in enumerate(visitors, 1)]
    results = [job.result(timeout=RUN_SECONDS) for job in jobs]
    for rank, result in enumerate(results, 1):
        assert "weights trained" in result[0]
        assert re.search(rf"rank={rank}\b", str(result[6]))
    assert len({result[7] for result in results}) == 3
    waited = [any("Waiting" in output[0] for output in job.outputs()) for job in jobs]
    assert waited.count(False) <= 1  # whose request arrived first
    for visitor in visitors:
        visitor.close()


def test_a_session_cannot_be_entered_without_its_key(client: Any, server: Server) -> None:
    from gradio_client import Client

    key = submit(client, "tiny", 4, 1e-2, 8).result(timeout=RUN_SECONDS)[-1]
    stranger = Client(f"{server.url}/demos/lora/", verbose=False)
    for guess in ("", key[:-1], "../" + key, "*"):
        with pytest.raises(Exception, match="No model has been trained yet"):
            stranger.predict("Hello?", "latest adapter", guess, api_name="/ask_lora")
    assert client.predict("Hello?", "latest adapter", key, api_name="/ask_lora")


def test_a_model_that_is_a_path_or_an_address_is_refused(client: Any) -> None:
    for model in ("/etc", "../tiny", "https://elsewhere.example/model", "owner/model"):
        with pytest.raises(Exception, match=r"(?i)choices|no model or task called"):
            submit(client, model, 8, 4e-3, 8).result(timeout=RUN_SECONDS)


def test_a_message_of_a_million_characters_is_refused(client: Any) -> None:
    submit(client, "tiny", 4, 1e-2, 8).result(timeout=RUN_SECONDS)
    with pytest.raises(Exception, match=r"1,000,000 characters"):
        client.predict("a" * 1_000_000, "latest adapter", "", api_name="/ask_lora")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("bad.jsonl", b'{"prompt": "Open?", "completion": "Yes."}\n{"prompt": "Open?"}\n', r"bad\.jsonl:2"),
        ("wide.csv", b"prompt,completion\nOpen?,Yes.,Late\n", r"wide\.csv:2.*3 cells"),
        ("odd.exe", b"MZ", r"(?i)file type|invalid"),
        ("bomb.jsonl", b"\x1f\x8b\x08" + bytes(2000), "does not accept compressed or Parquet files"),
        ("script.jsonl", b"<script>alert(1)</script>\n", r"script\.jsonl:1.*not valid JSON"),
    ],
)
def test_an_upload_that_is_no_good_is_refused_by_name(
    client: Any, tmp_path: Path, name: str, content: bytes, told: str
) -> None:
    from gradio_client import handle_file

    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(Exception, match=told) as caught:
        client.predict("tiny", 8, "0.004", 8, False, handle_file(str(file)), "", "", api_name="/train_lora")
    assert "Traceback" not in str(caught.value)
    assert "/tmp/" not in str(caught.value)


def test_an_upload_of_a_hundred_megabytes_is_refused_and_the_server_stays_well(server: Server) -> None:
    import httpx

    body = bytes(100_000_000)
    try:
        answer = httpx.post(
            f"{server.url}/demos/lora/gradio_api/upload", files={"files": ("big.jsonl", body)}, timeout=RUN_SECONDS
        )
        assert answer.status_code == 413
    except httpx.TransportError:
        pass  # it hung up before all was sent
    assert httpx.get(f"{server.url}/demos/lora/").status_code == 200


def test_an_agent_trains_and_reads_the_result_through_mcp(server: Server) -> None:
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    async def use() -> tuple[set[str], str]:
        address = f"{server.url}/demos/lora/gradio_api/mcp/"
        async with streamablehttp_client(address) as (read, write, _), ClientSession(read, write) as session:
            await session.initialize()
            tools = {tool.name: tool for tool in (await session.list_tools()).tools}
            name = next(name for name in tools if "train" in name)
            assert "adapter" in (tools[name].description or "")
            settings = {"model": "tiny", "rank": 4, "lr": "0.01", "examples": 16, "compare": False}
            result = await session.call_tool(name, {**settings, "pasted": "", "session_key": ""})
            return set(tools), " ".join(getattr(part, "text", "") for part in result.content)

    tools, told = asyncio.run(use())
    assert any("stop" in name for name in tools)
    assert "weights trained" in told


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
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "Another program uses it. Choose another port, or take any free one with `--port 0`." in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("host", "port", "what"),
    [("127.0.0.1", 65535, "--port 0"), ("203.0.113.1", 0, "`--host`")],  # an address of no machine (RFC 5737)
)
def test_an_address_that_cannot_be_listened_on_is_refused_with_one_that_can(
    host: str, port: int, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PUBLIC, "1")  # which a host like the second would set for all later tests
    with contextlib.ExitStack() as stack:
        if port:
            stack.enter_context(socket.create_server((host, port)))
        with pytest.raises(ServerError) as refusal:
            serve(lambda: pytest.fail("the application was built"), host, port)
    assert f"cannot listen on {host}:{port}: " in refusal.value.what
    assert what in refusal.value.remedy
    assert "65536" not in str(refusal.value)


def test_the_pages_are_not_built_for_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = CliRunner().invoke(main, ["site", "serve", "--port", str(taken.getsockname()[1])])
    assert done.exit_code == 1
    assert ": Address already in use.\nAnother program uses it." in done.stderr


def test_ctrl_c_ends_the_server_quietly_while_a_visitor_trains() -> None:
    from gradio_client import Client

    running = start("demo", "lora")
    first_step(submit(Client(f"{running.url}/demos/lora/", verbose=False), "tiny", 4, 1e-2, 64))
    running.process.send_signal(signal.SIGINT)
    running.process.wait(STOP_SECONDS)
    assert running.said().splitlines() == [f"Ready at {running.url}/ (Ctrl-C stops it)", "Stopped."]
    assert running.process.returncode == STOPPED_BY_CTRL_C


@pytest.mark.slow
@pytest.mark.skipif(
    not hasattr(signal, "SIGHUP") or signal.getsignal(signal.SIGHUP) is signal.SIG_IGN, reason="SIGHUP has no effect"
)
def test_a_closed_terminal_ends_the_server_and_removes_the_files_of_its_visitors(tmp_path: Path) -> None:
    from gradio_client import Client

    running = start("demo", "lora", TMPDIR=str(tmp_path))
    first_step(submit(Client(f"{running.url}/demos/lora/", verbose=False), "tiny", 4, 1e-2, 64))
    assert list(tmp_path.glob("ftdemo-sessions-*"))
    running.process.send_signal(signal.SIGHUP)
    assert running.process.wait(STOP_SECONDS) == -signal.SIGHUP
    assert not list(tmp_path.glob("ftdemo-sessions-*"))


def test_with_nobody_connected_a_demo_wakes_the_server_at_most_fifty_times_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each task that polls sleeps between two checks: the shorter it sleeps, the busier the idle server."""
    app, wake_ups, real_sleep = demo_app("sft"), {}, asyncio.sleep

    async def sleep(delay: float) -> None:
        if delay > 0:
            wake_ups[asyncio.current_task()] = 1 / delay
            await asyncio.Event().wait()

    async def idle() -> None:
        monkeypatch.setattr(asyncio, "sleep", sleep)
        async with app.router.lifespan_context(app):
            for _ in range(100):  # until each task is asleep
                await real_sleep(0)

    asyncio.run(idle())
    assert 0 < sum(wake_ups.values()) <= 50


def test_an_unknown_demo_is_refused_with_those_there_are() -> None:
    assert "lora" in demo_names()
    for name in ("rola", "../lora", ""):
        with pytest.raises(UsageError, match=r"The demos are: .*lora"):
            load_demo(name)


def test_no_usage_analytics_are_sent() -> None:
    import gradio.analytics

    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert not gradio.analytics.analytics_enabled()


@pytest.mark.slow
def test_on_zero_gpu_all_that_computes_does_so_in_the_process_that_has_the_gpu(tmp_path: Path) -> None:
    from gradio_client import Client

    (tmp_path / "spaces.py").write_text((Path(__file__).parent / "zero_gpu.py").read_text(encoding="utf-8"))
    log = tmp_path / "log"
    variables = {
        "SPACES_ZERO_GPU": "true",
        "PYTHONPATH": str(tmp_path),
        "ZERO_GPU_LOG": str(log),
        "SPACE_ID": "me/lora",
    }
    running = start("demo", "lora", "--public", **variables)
    try:
        visitor = Client(f"{running.url}/demos/lora/", verbose=False)
        result = submit(visitor, "tiny", 4, 1e-2, 16).result(timeout=RUN_SECONDS)
        assert "weights trained" in result[0]
        assert unpacked(result, tmp_path).record["status"] == "completed"
        said = visitor.predict("Where is my parcel?", "latest adapter", result[-1], api_name="/ask_lora")
        assert "ft-said" in said
    finally:
        running.process.terminate()
        running.process.wait(STOP_SECONDS)
    on_gpu = {line.partition(" ")[0] for line in log.read_text(encoding="utf-8").split("\n")}
    assert on_gpu >= {"_measure_untrained", "_measure_throughput", "_run_recipe", "_stream_answer"}
