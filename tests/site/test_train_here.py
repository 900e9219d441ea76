"""What trains in a page, in a real browser: its engine held against the package's own, and every page that has it."""

from __future__ import annotations

import base64
import functools
import json
import os
import random
import re
import threading
import zipfile
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from peft import PeftModel
from safetensors.torch import load_file, save
from served import CHROMIUM, ROOT, RUN_SECONDS
from transformers import AutoModelForCausalLM, AutoTokenizer

from ftdemo.cli.main import main
from ftdemo.data import BUILT_IN, Row, Turn
from ftdemo.data.tokenize import render
from ftdemo.evaluation.evaluate import score
from ftdemo.evaluation.generate import answer_rows, prompt_of
from ftdemo.events import Answer, Step
from ftdemo.recipe import Recipe
from ftdemo.site import lessons
from ftdemo.training.learner import Learner
from ftdemo.training.loop import plan_run, train
from ftdemo.training.prepare import prepare

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None and "CI" not in os.environ, reason="there is no Chromium on this machine"),
]
LESSONS = {path.stem: path for path in lessons.find_lessons(ROOT / "docs")}
_ENGINE = """
const engine = await import("/assets/train-here/engine.js");
const { numpy: np } = engine;
await engine.init("wasm");
engine.defaultDevice("wasm");
const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
const text = (array) => {
  const view = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  return btoa(Array.from(view, (byte) => String.fromCharCode(byte)).join(""));
};
const tensors = (file) => engine.readTensors(bytes(file));
const logitsOf = async (weights, low, ids) => {
  const count = ids.length, after = (_, at) => (at % count > Math.floor(at / count) ? -1e9 : 0);
  const bias = np.array(Float32Array.from({ length: count ** 2 }, after), { shape: [1, 1, count, count] });
  const row = np.array(Int32Array.from(ids), { shape: [1, count] });
  const angles = engine.ropeAngles(given.config, [...ids.keys()]), sees = engine.attention(bias);
  return text(await engine.logits(given.config, weights, low, row, angles, sees).data());
};
const learn = () => {
  const low = given.recipe.method === "lora", moving = tensors(given.moving);
  return new engine.Learner(given.config, given.recipe, low ? tensors(given.weights) : moving, low ? moving : null);
};
const steps = async (learner, from, upto) => {
  const losses = [];
  for (let at = from; at < upto; at++) {
    const rows = given.plan[at % given.plan.length];
    losses.push(await learner.train(given.examples, rows, given.plan.length));
  }
  return losses;
};
"""


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """The built site at a plain server of static files, which sends no header of its own."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    page = browser.new_page()
    page.set_default_timeout(RUN_SECONDS * 1000)
    yield page
    page.close()


@pytest.fixture
def engine(page: Any, address: str) -> Any:
    """Runs JavaScript beside the engine, given one argument, and returns what it returns."""
    page.goto(f"{address}/404.html")
    return lambda script, given: page.evaluate(f"async (given) => {{ {_ENGINE} {script} }}", given)


def _learner(method: str, **changes: Any) -> Learner:
    usual = {"model": "nano", "data": "high-street-tickets", "examples": 64, "packing": True, "epochs": 2}
    usual |= {"dtype": "float32", "device": "cpu"}
    sizes = {"max_length": 256, "batch_tokens": 512, "lr": 2e-3, "weight_decay": 0.1}
    return prepare(Recipe(method=method, **usual | sizes | changes))


def _given(learner: Learner) -> dict[str, Any]:
    """A learner before its first step, for the engine."""
    folder = lessons.model_folder()
    moving = {name.replace(".default.", "."): each.detach().contiguous() for name, each in learner.trainable.items()}
    return {
        "config": json.loads((folder / "config.json").read_text(encoding="utf-8")),
        "recipe": learner.recipe.model_dump(mode="json"),
        "weights": base64.b64encode((folder / "model.safetensors").read_bytes()).decode(),
        "moving": base64.b64encode(save(moving)).decode(),
        "examples": lessons.token_rows(learner.train),
        "plan": list(plan_run(learner)),
        "ids": list(learner.train[0].input_ids),
    }


def _logits(found: str, ids: list[int]) -> torch.Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(found)), dtype=torch.float32).view(len(ids), -1)


def test_logits_are_those_of_transformers(engine: Any) -> None:
    learner = _learner("full")
    given = _given(learner)
    script = """
    const { frozen, state } = learn();
    return logitsOf({ ...frozen, ...state.moved }, null, given.ids);
    """
    found = _logits(engine(script, given), given["ids"])
    with torch.no_grad():
        right = learner.model(input_ids=torch.tensor([given["ids"]])).logits[0]
    assert right.abs().max() > 5
    assert (found - right).abs().max() < 1e-3


@pytest.mark.parametrize(("method", "special"), [("full", {}), ("lora", {"lr_ratio": 2.0})])
def test_twenty_steps_are_those_of_our_own_training(engine: Any, method: str, special: dict[str, Any]) -> None:
    learner = _learner(method, **special)
    losses = engine("return steps(learn(), 0, 20);", _given(learner))
    right = [event.loss for event in train(learner.recipe, learner) if isinstance(event, Step)][:20]
    assert len(losses) == len(right) == 20
    assert right[0] - right[-1] > 0.3  # it does learn, so that there is something to differ in
    assert max(abs(one - other) for one, other in zip(losses, right, strict=True)) < 1e-3


def test_an_adapter_gives_the_same_logits_in_plain_peft(engine: Any, tmp_path: Path) -> None:
    given = _given(_learner("lora"))
    script = """
    const learner = learn();
    await steps(learner, 0, 8);
    const file = text(engine.writeTensors(await learner.plain("moved")));
    const logits = await logitsOf({ ...learner.frozen, ...learner.state.moved }, learner.lowRank, given.ids);
    return { file, logits, config: engine.adapterConfig(learner.lowRank) };
    """
    found = engine(script, given)
    (tmp_path / "adapter_model.safetensors").write_bytes(base64.b64decode(found["file"]))
    (tmp_path / "adapter_config.json").write_text(json.dumps(found["config"]), encoding="utf-8")
    base = AutoModelForCausalLM.from_pretrained(lessons.model_folder(), dtype=torch.float32)
    ids = torch.tensor([given["ids"]])
    with torch.no_grad():
        before = base(input_ids=ids).logits[0]
        right = PeftModel.from_pretrained(base, tmp_path)(input_ids=ids).logits[0]
    assert (right - before).abs().max() > 0.5  # the adapter does something
    assert (_logits(found["logits"], given["ids"]) - right).abs().max() < 1e-3


@pytest.mark.slow
def test_two_hundred_steps_do_not_grow_memory(page: Any, engine: Any) -> None:
    page.add_init_script("""
    const { Memory } = WebAssembly;
    window.memories = [];
    WebAssembly.Memory = class extends Memory {
      constructor(...given) { super(...given); window.memories.push(this); }
    };
    """)
    page.reload()
    script = """
    const learner = learn(), size = () => window.memories.reduce((sum, { buffer }) => sum + buffer.byteLength, 0);
    await steps(learner, 0, 20);
    const early = size();
    await steps(learner, 20, 200);
    return [early, size()];
    """
    early, late = engine(script, _given(_learner("lora", max_length=64, batch_tokens=128)))
    assert early > 10_000_000  # the model and its moments at least
    assert late == early


def _lines(count: int) -> list[str]:
    """Lines of all kinds: of the corpus, of many scripts, joined emoji, spaces of all widths, and bits of each."""
    chance = random.Random(5)
    ranges = [
        (0x20, 0x7E),
        (0xA0, 0x24F),
        (0x370, 0x3FF),
        (0x400, 0x4FF),
        (0x5D0, 0x5EA),
        (0x620, 0x64A),
        (0x900, 0x97F),
    ]
    ranges += [
        (0xE00, 0xE4F),
        (0x3040, 0x30FF),
        (0x4E00, 0x4FFF),
        (0xAC00, 0xACFF),
        (0x1F300, 0x1F64F),
        (0x10330, 0x1034A),
    ]
    # Not U+FEFF: JavaScript's regular expressions take it for a space, so what follows it may be cut otherwise.
    joined = [
        "👩‍👩‍👧",
        "🏴‍☠️",
        "🇫🇮",
        "👍🏽",
        "e\u0301",
        "\u200d",
        "\t",
        "  ",
        "\u3000",
        "\u00a0",
        "'ll",
        "I'VE",
        "...",
        "½",
        "Ⅷ",
    ]
    documents = BUILT_IN["high-street"].documents
    assert documents
    corpus = (sentence for text in documents(1) for sentence in re.split(r"(?<=\.) ", text.replace("\n", " ")))

    def mixed() -> str:
        low, high = chance.choice(ranges)
        return "".join(chr(chance.randint(low, high)) for _ in range(chance.randint(1, 12)))

    def piece() -> str:
        return [mixed(), next(corpus), chance.choice(joined), " "][chance.randrange(4)]

    return ["".join(piece() for _ in range(6)) for _ in range(count)]


def test_the_tokenizer_agrees_on_ten_thousand_lines(engine: Any) -> None:
    folder = lessons.model_folder()
    ours = AutoTokenizer.from_pretrained(folder)
    lines = _lines(10_000)
    script = """
    const tokenizer = engine.readTokenizer(given.tokenizer);
    const encoded = given.lines.map((line) => tokenizer.encode(line, { add_special_tokens: false }).ids);
    const skip = { skip_special_tokens: true };
    const decoded = encoded.map((ids) => tokenizer.decode(ids, skip));
    return { encoded, decoded, asked: engine.asked("How are you?") };
    """
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    found = engine(script, {"tokenizer": tokenizer, "lines": lines})
    right = ours(lines, add_special_tokens=False)["input_ids"]
    assert [line for line, one, other in zip(lines, found["encoded"], right, strict=True) if one != other] == []
    assert found["decoded"] == lines
    assert found["asked"] == render([Turn("user", "How are you?")], ours, to_be_answered=True)


OWN = """Hello, this is Nina.
I'd like a haircut on Friday.
{"name": "Nina", "day": "Friday"}


monday for colin please
{"name": "Colin", "day": "Monday"}
"""


def test_a_visitors_own_examples_are_read_as_ours_are(engine: Any, tmp_path: Path) -> None:
    blocks = [block.strip().split("\n") for block in OWN.split("\n\n\n")]
    file = tmp_path / "own.jsonl"
    rows = [{"prompt": "\n".join(lines[:-1]), "completion": lines[-1]} for lines in blocks]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    right = lessons.token_rows(_learner("full", data=str(file), examples=None).train)
    tokenizer = json.loads((lessons.model_folder() / "tokenizer.json").read_text(encoding="utf-8"))
    found = engine(
        "return engine.ownExamples(given.own, engine.readTokenizer(given.tokenizer), 256);",
        {"tokenizer": tokenizer, "own": OWN},
    )
    assert found == [{"input_ids": list(row["input_ids"]), "trained": row["trained"]} for row in right]


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ("", "There is no example."),
        ("Monday, please\nno JSON", "Line 2 should be JSON"),
        ('{"day": "Monday"}', "Line 1 has no message above it"),
        ("Monday, please\n[1, 2]", "Line 2 should be a JSON object"),
        (f'{OWN}\nTuesday?\n{{"date": 3}}', "Line 10: the keys are date, but those of the first example are name, day"),
        ("<|im_end|>\n{}", 'Line 1 contains "<|"'),
        (f'{"far " * 300}\n{{"day": 1}}', "The example from line 1 on has"),
    ],
)
def test_an_own_example_that_cannot_be_used_is_refused_with_its_line(engine: Any, own: str, message: str) -> None:
    tokenizer = json.loads((lessons.model_folder() / "tokenizer.json").read_text(encoding="utf-8"))
    script = """
    const tokenizer = engine.readTokenizer(given.tokenizer);
    try { engine.ownExamples(given.own, tokenizer, 256); } catch ({ message }) { return message; }
    """
    assert engine(script, {"tokenizer": tokenizer, "own": own}).startswith(message)


def test_answers_to_several_prompts_at_once_are_those_of_our_own_engine(engine: Any) -> None:
    learner = _learner("full")
    rows = learner.splits.heldout[:4]
    prompts = [learner.tokenizer(prompt_of(row, learner.tokenizer)[0], add_special_tokens=False) for row in rows]
    stop = learner.tokenizer.eos_token_id
    script = """
    const learner = learn();
    await steps(learner, 0, given.plan.length);
    let last;
    for await (last of learner.generate(given.prompts, given.stop, 24));
    return last.answers;
    """
    found = engine(script, _given(learner) | {"prompts": [each["input_ids"] for each in prompts], "stop": stop})
    list(train(learner.recipe, learner))
    right = [answer.text for answer in answer_rows(learner.model, learner.tokenizer, rows, max_new_tokens=24)]
    texts = learner.tokenizer.batch_decode(found, skip_special_tokens=True)
    assert len(set(right)) > 1
    assert sum(one == other for one, other in zip(texts, right, strict=True)) >= 3  # one may turn on a last digit


def test_an_adapter_at_strength_0_gives_the_bases_numbers_bit_for_bit(engine: Any) -> None:
    script = """
    const learner = learn(), base = new engine.Learner(given.config, given.recipe, tensors(given.weights), null);
    await steps(learner, 0, 8);
    const scores = [];
    for (const [model, strength] of [[base, 1], [learner, 0], [learner, 1]]) {
      scores.push(await model.scores(given.examples, given.plan[0], strength));
    }
    const answers = [];
    for (const [model, strength] of [[base, 1], [learner, 0]]) {
      let last;
      for await (last of model.generate([given.ids], 2, 16, strength));
      answers.push(last.answers);
    }
    return { scores: scores.map((all) => all.map(({ logProb }) => logProb)), answers };
    """
    found = engine(script, _given(_learner("lora")))
    base, off, on = found["scores"]
    assert off == base
    assert max(abs(one - other) for one, other in zip(base, on, strict=True)) > 0.1
    assert found["answers"][0] == found["answers"][1]


@pytest.mark.parametrize(
    ("job", "answer", "wanted", "right"),
    [
        ("fields", '{"a": "x", "b": null}', '{"a": "x", "b": null}', True),
        ("fields", '{"b": null, "a": "x"}', '{"a": "x", "b": null}', True),
        ("fields", '{"a": "y", "b": null}', '{"a": "x", "b": null}', False),
        ("fields", '{"a": "x"}', '{"a": "x", "b": null}', False),
        ("fields", '{"a": "x", "b": null, "c": 1}', '{"a": "x", "b": null}', False),
        ("fields", "a kettle", '{"a": "x"}', False),
        ("answer", "Bath  mat", "bath mat", True),
        ("answer", "bath mat, please", "bath mat", False),
        ("answer", '{"b": 1, "a": 2}', '{"a": 2, "b": 1}', True),
    ],
)
def test_the_page_scores_an_answer_as_the_package_does(
    engine: Any, job: str, answer: str, wanted: str, right: bool
) -> None:
    row = Row(1, (Turn("user", "…"), Turn("assistant", wanted)))
    ours = score(Answer("…", answer, wanted, True), row, "high-street-tickets")
    assert bool(ours.get("all_fields", ours["exact_match"])) == right
    script = "return engine.isRight(given.job, { text: given.answer, stopped: true }, given.wanted);"
    assert engine(script, {"job": job, "answer": answer, "wanted": wanted}) == right


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_is_what_our_own_engine_trains(name: str) -> None:
    written = lessons.read_lesson(LESSONS[name])
    written.pop("measured")
    assert written == json.loads(json.dumps(lessons.lesson_content(LESSONS[name])))


_LISTEN = """(element) => {
  window.heard = [];
  for (const name of ["started", "step", "evaluated", "finished", "failed", "answered", "looked"]) {
    element.addEventListener(name, ({ detail }) => window.heard.push(detail));
  }
}"""


def _heard(page: Any, event: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.evaluate("name => window.heard.filter(({ event }) => event === name)", event)
    return found


def _wait_for(page: Any, event: str, count: int = 1) -> dict[str, Any]:
    waited = f"window.heard.filter(({{ event }}) => event === '{event}').length >= {count}"
    page.wait_for_function(f"{waited} || window.heard.some(({{ event }}) => event === 'failed')")
    assert _heard(page, "failed") == []
    return _heard(page, event)[-1]


@pytest.mark.parametrize(
    "name", [name if name == "lora" else pytest.param(name, marks=pytest.mark.slow) for name in LESSONS]
)
def test_a_page_reaches_what_it_claims(page: Any, address: str, name: str, tmp_path: Path) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{address}/terms/{name}/", wait_until="networkidle")
    element = page.locator("ft-train")
    element.evaluate(_LISTEN)
    idle = [url.rpartition("/")[2] for url in asked if "train-here" in url or "derived/nano" in url]
    assert idle[0] == "element.js"
    assert sum((ROOT / "docs" / "assets" / "train-here" / file).stat().st_size for file in idle) < 30_000

    element.get_by_role("button", name="Train the model").click()
    finished = _wait_for(page, "finished")
    lesson = lessons.read_lesson(LESSONS[name])
    assert finished["step"] == len(lesson["plan"])
    assert all(url.startswith(address) for url in asked if not url.startswith(("data:", "blob:")))
    for start, claimed in lesson["measured"].items():
        reached = finished["scores"][start]
        assert abs(reached["loss"] - claimed["loss"]) <= lesson["within"]
        if lesson["job"] == "text":
            assert abs(100 * reached["predicted"] - claimed["after"]) <= 2
        else:  # an answer of eight may turn on the last digits of a number
            assert abs(reached["right"] - claimed["shown"]) <= 1
    base = len(load_file(lessons.model_folder() / "model.safetensors")) if "lora" in lesson["starts"].values() else 0
    assert finished["frozen"] == {"tensors": base, "changed": 0}
    _shows_the_result_in_words(
        element, lesson, _heard(page, "evaluated")[: len(finished["scores"])], finished["scores"]
    )
    _kept_answers_as_the_page_did(page, element, tmp_path, lesson["prompts"][1].replace("\n", " "))


def _shows_the_result_in_words(
    element: Any, lesson: dict[str, Any], first: list[dict[str, Any]], scores: dict[str, Any]
) -> None:
    is_text = lesson["job"] == "text"
    total = 100 if is_text else len(lesson["prompts"])
    lines = element.locator(".ft-verdict p").all_inner_texts()
    for line, start, reached in zip(lines, first, scores.values(), strict=True):
        before, after = (round(100 * each["predicted"]) if is_text else each["right"] for each in (start, reached))
        assert f"efore: {before} of {total} {lesson['unit']}. After: {after} of {total}." in line
    if lesson["job"] == "fields":
        marked = element.locator(".ft-compare td:last-child").all_text_contents()[1:]
        assert ["right: " in text or "wrong: " in text for text in marked] == [True] * len(
            BUILT_IN["short-tickets"].fields
        )


def _kept_answers_as_the_page_did(page: Any, element: Any, folder: Path, prompt: str) -> None:
    element.get_by_label("Write one yourself").fill(prompt)
    element.get_by_role("button", name="Answer it").click()
    answered = next(iter(_wait_for(page, "answered")["answers"].values()))["after"]["text"]
    with page.expect_download() as downloading:
        element.get_by_role("button", name="Download the model").click()
    with zipfile.ZipFile(downloading.value.path()) as kept:
        kept.extractall(folder)
    done = CliRunner().invoke(main, ["chat", str(folder)], input=f"{prompt}\n\n")
    assert done.exit_code == 0, done.output
    assert answered[:60] in done.output


def _ask(element: Any, prompt: str) -> None:
    element.evaluate("(element, prompt) => element.order('ask', { prompt })", prompt)


def test_it_stops_and_rests_while_the_page_is_hidden(page: Any, address: str) -> None:
    page.goto(f"{address}/terms/lora/")
    element = page.locator("ft-train")
    element.evaluate(_LISTEN)
    element.get_by_label("Rank").fill("2")
    trained = sum(weight.numel() for weight in _learner("lora", rank=2).trainable.values())
    assert f"an adapter of {4 * trained:,} bytes" in element.inner_text()
    element.get_by_role("button", name="Train the model").click()
    _wait_for(page, "step", 3)
    page.evaluate("Object.defineProperty(document, 'hidden', { value: true, configurable: true })")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    _ask(element, "Who are you?")  # the step that was under way ends before this is answered
    _wait_for(page, "answered")
    before = len(_heard(page, "step"))
    for count in (2, 3):  # unless it rests, it trains between one answer and the next
        _ask(element, "Who are you?")
        _wait_for(page, "answered", count)
    assert len(_heard(page, "step")) == before
    page.evaluate("Object.defineProperty(document, 'hidden', { value: false, configurable: true })")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    _wait_for(page, "step", before + 2)
    element.get_by_role("button", name="Stop training").click()
    stopped = _wait_for(page, "finished")
    assert stopped["stopped"]
    assert 5 <= stopped["step"] < len(lessons.read_lesson(LESSONS["lora"])["plan"])

    _wait_for(page, "looked")
    element.locator(".ft-picker button").first.click()
    element.get_by_label("Adapter strength").fill("0")
    page.wait_for_function("window.heard.some(({ event, strength }) => event === 'looked' && strength === 0)")
    looked = _heard(page, "looked")[-1]
    assert looked["text"] == _heard(page, "evaluated")[0]["answers"][0]["text"]
    assert all(token["tuned"] == token["base"] for token in looked["tokens"])
    assert "this is the base model" in element.inner_text()


def test_a_visitor_trains_on_examples_of_their_own_and_sees_the_answer_to_a_new_message(
    page: Any, address: str
) -> None:
    page.goto(f"{address}/terms/fine-tuning/")
    element = page.locator("ft-train")
    element.evaluate(_LISTEN)
    element.get_by_text("Use your own examples").click()
    examples = element.get_by_label("Examples", exact=True)
    given = examples.input_value()
    examples.fill("no answer here")
    element.get_by_role("button", name="Train on these").click()
    assert "Line 1 should be JSON" in element.get_by_role("alert").inner_text()
    examples.fill(given)
    element.get_by_label("A new message").fill("20467 is broken. It weighs 36 kg.")
    element.get_by_role("button", name="Train on these").click()
    assert _wait_for(page, "started")["examples"] == 5
    _wait_for(page, "finished")
    assert "After training on your examples" in element.inner_text()
    assert "20467 is broken. It weighs 36 kg." in element.inner_text()
    before, after = (_heard(page, "evaluated")[place]["answers"][0]["text"] for place in (0, -1))
    assert after.startswith('{"parcel": "20467"')
    assert not before.startswith("{")


def test_the_charts_values_can_be_read_by_pointer_and_by_keyboard(page: Any, address: str) -> None:
    page.goto(f"{address}/terms/fine-tuning/")
    element = page.locator("ft-train")
    element.evaluate(_LISTEN)
    element.get_by_role("button", name="Train the model").click()
    _wait_for(page, "step", 3)
    element.get_by_role("button", name="Stop training").click()
    _wait_for(page, "finished")
    values = element.locator(".ft-losses .ft-values")
    element.get_by_label("Training step to read").press("Home")
    element.get_by_label("Training step to read").press("ArrowRight")
    assert values.inner_text().startswith("Step 1: training")
    element.locator(".ft-plot").hover(position={"x": 52, "y": 60})
    assert values.inner_text().startswith("Step 0: held-out")
    chart = element.get_by_role("img")
    assert chart.get_attribute("aria-label").startswith("Loss over")
    element.get_by_text("The values as a table").click()
    assert element.locator(".ft-losses tbody tr").count() == 2


def test_a_browser_that_cannot_is_told_so(page: Any, address: str) -> None:
    page.add_init_script("delete window.Worker")
    page.goto(f"{address}/terms/lora/")
    page.locator("ft-train").get_by_text("This browser cannot train here.").wait_for()
    assert page.locator(".ft-chart").count() >= 1


@pytest.mark.parametrize("broken", ["no weights", "other rank"])
def test_an_adapter_that_does_not_fit_is_refused_with_a_reason(tmp_path: Path, broken: str) -> None:
    learner = _learner("lora")
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "nano", "r": 4, "lora_alpha": 8}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"target_modules": ["q_proj"]}), encoding="utf-8")
    if broken == "other rank":
        moving = {name.replace(".default.", "."): each.detach().clone() for name, each in learner.trainable.items()}
        (tmp_path / "adapter_model.safetensors").write_bytes(save(moving))
    done = CliRunner().invoke(main, ["chat", str(tmp_path)], input="Hello\n\n")
    assert done.exit_code == 2
    assert {"no weights": "has no adapter_model.safetensors", "other rank": "does not fit ftdemo-nano"}[
        broken
    ] in done.output
