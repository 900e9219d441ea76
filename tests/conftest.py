"""What tests share: the real model, loaded and converted once, and short real runs: on it, and on tiny models."""

from __future__ import annotations

import os

# Torch reads these when it is loaded, here and in each process that a test starts. With two workers on two cores a
# second thread would only take the core from the other worker. Threads that wait for each other spin, by default for
# so long that a tiny run beside a busy process took 3.6 times as long as with this count; alone it costs 16%.
os.environ.setdefault(
    "OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))))
)
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import json
import pickle
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import settings
from served import CHROMIUM, FLAGS, ROOT
from transformers import LlamaConfig

from ftdemo.data import BUILT_IN
from ftdemo.events import Event, Started, Step
from ftdemo.models import load as models
from ftdemo.recipe import Recipe
from ftdemo.runs.perform import perform
from ftdemo.runs.run import Run

settings.register_profile("quick", max_examples=25, deadline=None)
settings.register_profile("thorough", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

QUICK = Recipe(
    model="smollm2",
    examples=12,
    max_steps=4,
    epochs=4,
    batch_tokens=256,
    lr=1e-3,
    sample_prompts=2,
    eval_every=2,
    dtype="float32",
)
"""A few real steps on SmolLM2 in float32, so that numbers can be compared closely."""

TINY = Recipe(
    method="scratch",
    examples=60,
    width=64,
    layers=2,
    vocabulary=512,
    max_length=64,
    batch_tokens=512,
    dtype="float32",
    sample_prompts=1,
    max_steps=6,
    warmup=0.4,
    eval_every=3,
)
"""Six steps of a new model on packed text, two of them warm-up: a step takes some 30 ms."""

STARTED = Started(
    examples=144,
    heldout_examples=12,
    dropped_rows=(3, 17),
    truncated_rows=(),
    trained_tokens=9000,
    total_steps=36,
    trainable_parameters=2_442_240,
    total_parameters=136_957_248,
    adapter_bytes=9_768_960,
    device="cpu",
    dtype="float32",
    attention="eager",
    baselines={"uniform": 6.25, "unigram": 5.5},
)
"""A `Started` for tests that need no run."""

GOODS = ("lamp", "rug", "mop", "frame", "pan", "mirror", "clock", "kettle", "shelf", "blender")
DAYS = ("Monday", "Tuesday", "Friday", "Sunday")


LLAMA_2_70B = LlamaConfig(
    vocab_size=32000,
    hidden_size=8192,
    intermediate_size=28672,
    num_hidden_layers=80,
    num_attention_heads=64,
    num_key_value_heads=8,
)
"""Of 70 billion parameters; its weights are nowhere."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where two workers take file after file, the longest go first: one begun last would leave a worker idle."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        long = ["test_browser.py", "test_train_here.py", "test_server.py", "test_cli_runs.py", "test_notebook.py"]
        items.sort(key=lambda item: long.index(item.path.name) if item.path.name in long else len(long))


def steps(events: list[Event]) -> list[Step]:
    return [event for event in events if isinstance(event, Step)]


def write_rows(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    return file


def carried_out(recipe: Recipe, out: Path, resume: Run | None = None) -> Run:
    for _ in perform(recipe, out, resume=resume):
        pass
    return Run.load(out)


def interrupted(recipe: Recipe, out: Path, *, after: int) -> Run:
    """A run that is broken off after a step, before anything else happens."""
    with closing(perform(recipe, out)) as events:
        for event in events:
            if isinstance(event, Step) and event.step == after:
                break
    return Run.load(out)


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first worker which needs it makes, and the others read."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    folder = shared / name
    with FileLock(shared / f"{name}.lock"):
        if not folder.exists():
            unfinished = own / f"{name}.part"
            make(unfinished)
            unfinished.rename(folder)
    return folder


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make demo` serves it, built strictly and without a warning."""

    def build(folder: Path) -> None:
        environment = {**os.environ, "FTDEMO_DEMOS_URL": "/demos/{name}/", "NO_MKDOCS_2_WARNING": "1"}
        command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "WARNING" not in done.stderr

    return made_once(tmp_path_factory, "site", build)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium. For a module, not the session: while Playwright's loop runs, no other test may call `asyncio.run`."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)


@pytest.fixture(scope="session")
def smollm2() -> models.Source:
    return models.resolve("smollm2")


@pytest.fixture(scope="session")
def tokenizer(smollm2: models.Source) -> Any:
    return models.load_tokenizer(smollm2)


@pytest.fixture(scope="session")
def quick_events_and_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Event], Run]:
    """For all workers, since it takes long; they read it only."""

    def make(folder: Path) -> None:
        events = list(perform(QUICK, folder / "run"))
        (folder / "events").write_bytes(pickle.dumps(events))

    folder = made_once(tmp_path_factory, "quick", make)
    return pickle.loads((folder / "events").read_bytes()), Run.load(folder / "run")


@pytest.fixture(scope="session")
def quick_run(quick_events_and_run: tuple[list[Event], Run]) -> Run:
    return quick_events_and_run[1]


@pytest.fixture(scope="session")
def quick_events(quick_events_and_run: tuple[list[Event], Run]) -> list[Event]:
    return quick_events_and_run[0]


@pytest.fixture(scope="session")
def tiny_events_and_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Event], Run]:
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    events = list(perform(TINY, folder))
    return events, Run.load(folder)


@pytest.fixture(scope="session")
def tiny_run(tiny_events_and_run: tuple[list[Event], Run]) -> Run:
    return tiny_events_and_run[1]


@pytest.fixture(scope="session")
def chats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty short chats; the day in each answer is by chance, so that it can be learned by heart but not foreseen."""
    rng = random.Random(0)
    rows = [
        {
            "prompt": f"Where is my {GOODS[n % 10]}, order {n}?" + " Please tell me." * (n % 3),
            "completion": f"Your {GOODS[n % 10]} comes on {rng.choice(DAYS)}, madam.",
        }
        for n in range(40)
    ]
    return write_rows(tmp_path_factory.mktemp("data") / "chats.jsonl", rows)


@pytest.fixture(scope="session")
def chat_recipe(chats: Path) -> Recipe:
    """A new model on chats, a row a text, whose held-out rows are four."""
    return Recipe(
        method="scratch",
        data=str(chats),
        train_on="completion",
        width=64,
        layers=2,
        vocabulary=320,
        max_length=128,
        batch_tokens=512,
        packing=False,
        dtype="float32",
        sample_prompts=4,
        max_steps=6,
        epochs=50,
        lr=1e-2,
        eval_every=2,
    )


@pytest.fixture(scope="session")
def chat_run(chat_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A tiny model that has seen chats: what the other methods start from."""
    return carried_out(chat_recipe, tmp_path_factory.mktemp("runs") / "chat")


@pytest.fixture(scope="session")
def lora_recipe(chat_run: Run, chats: Path) -> Recipe:
    """LoRA on the tiny model."""
    return Recipe(
        method="lora",
        model=str(chat_run.folder),
        data=str(chats),
        max_length=128,
        batch_tokens=512,
        dtype="float32",
        sample_prompts=4,
        max_steps=6,
        epochs=50,
        lr=1e-2,
        eval_every=2,
    )


@pytest.fixture(scope="session")
def lora_run(lora_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return carried_out(lora_recipe, tmp_path_factory.mktemp("runs") / "lora")


@pytest.fixture(scope="session")
def messages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty messages to the shop with their labels, of which six are held out."""
    file = tmp_path_factory.mktemp("data") / "messages.jsonl"
    lines = BUILT_IN["routing"].train.read_text(encoding="utf-8").splitlines(keepends=True)
    file.write_text("".join(lines[:60]), encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def probe_recipe(messages: Path) -> Recipe:
    """A linear probe on MiniLM."""
    return Recipe(
        method="probe",
        data=str(messages),
        max_length=64,
        batch_tokens=512,
        epochs=20,
        max_steps=30,
        dtype="float32",
        eval_every=None,
    )


@pytest.fixture(scope="session")
def probe_run(probe_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return carried_out(probe_recipe, tmp_path_factory.mktemp("runs") / "probe")


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow beyond 8 kB: the system itself refuses more, as a full disk does, whichever library writes."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine on which nothing is cached and the Hub does not answer."""
    monkeypatch.setenv("FTDEMO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    # Else it would try again for 23 seconds.
    monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=lambda _: None))
