"""The site and the demo in a real browser, as `make demo` serves them."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
import transformers
from playwright.sync_api import Error as PlaywrightError
from served import CHROMIUM, ROOT, RUN_SECONDS, STOP_SECONDS, Server, start
from starlette.middleware import Middleware

from ftdemo.comparison import ab_test
from ftdemo.estimate import memory
from ftdemo.estimate.parameters import parameter_counts
from ftdemo.events import Answer
from ftdemo.serving.server import demo_names
from ftdemo.site.derive import load_glossary
from ftdemo.site.project import Project
from ftdemo.ui import theme

TRY_SECONDS = 30
"""How long a page may take to show a chosen file before it is chosen again."""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None and "CI" not in os.environ, reason="there is no Chromium on this machine"),
]


@pytest.fixture(scope="module")
def server(site: Path) -> Iterator[Server]:
    running = start("serve", "--site", str(site))
    yield running
    running.process.terminate()
    running.process.wait(STOP_SECONDS)


class Watched:
    """A page, and what went wrong on it: errors on its console, and requests that left this machine."""

    def __init__(self, browser: Any, server: Server, **settings: Any) -> None:
        self.page = browser.new_context(**settings).new_page()
        self.errors: list[str] = []
        self.strangers: list[str] = []
        self.page.on("console", self._listen)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self._look(request.url, server.url))

    def _listen(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text} {message.location.get('url', '')}")

    def _look(self, url: str, ours: str) -> None:
        if not url.startswith((ours, "data:", "blob:")):
            self.strangers.append(url)


@pytest.fixture
def watched(browser: Any, server: Server) -> Iterator[Watched]:
    opened = Watched(browser, server)
    yield opened
    opened.page.context.close()


def pages(site: Path) -> list[str]:
    return sorted(str(path.relative_to(site).parent) for path in site.rglob("index.html"))


WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 360, "height": 800}


def visited(site: Path, *, others: bool) -> list[str]:
    """The pages with a demo of their own, all pages that are not entries and a fifth of the entries; or the others."""
    terms = [name for name in pages(site) if name.startswith("terms/")]
    with_demo = {"terms/prompting-rag-or-fine-tuning", *(f"terms/{name}" for name in demo_names())}
    left = set(terms[1::5] + terms[2::5] + terms[3::5] + terms[4::5]) - with_demo
    return sorted(left if others else set(pages(site)) - left)


@pytest.mark.parametrize("others", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_every_page_loads_without_errors_and_third_parties_and_fits_a_wide_and_a_narrow_screen(
    site: Path, server: Server, watched: Watched, others: bool
) -> None:
    names = visited(site, others=others)
    assert ("terms/lora" in names) is not others
    demos = [] if others else [f"demos/{demo}" for demo in demo_names() if demo != "studio"]
    page = watched.page
    for name in [*names, *demos]:
        for size in (NARROW, WIDE):
            page.set_viewport_size(size)
            if size is NARROW:
                page.goto(f"{server.url}/{name}/", wait_until="load")
                page.locator("h1").first.wait_for()
            page.wait_for_function(f"document.documentElement.scrollWidth <= {size['width']}", timeout=5000)
    left = re.compile("AbortError|errored out")  # Gradio's words when its page is left while it is still loading
    assert [error for error in watched.errors if not left.search(error)] == []
    assert watched.strangers == []


def card(page: Any) -> Any:
    return page.locator(".ft-card:visible")


def test_a_link_to_a_term_shows_its_definition_to_mouse_and_keyboard(server: Server, watched: Watched) -> None:
    page = watched.page
    page.clock.install()
    page.goto(f"{server.url}/terms/rag/", wait_until="networkidle")
    link = page.locator("article p > a[href='../fine-tuning/']").first
    link.hover()
    card(page).wait_for()
    assert "Fine-tuning" in card(page).inner_text()
    card(page).hover()
    page.clock.fast_forward(10_000)
    assert card(page).count() == 1  # it stays while the mouse is on it
    page.keyboard.press("Escape")
    assert card(page).count() == 0
    page.mouse.move(0, 0)
    page.keyboard.press("Tab")
    link.focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    card(page).wait_for()
    assert link.get_attribute("aria-describedby") == "ft-card"
    assert watched.errors == []


def test_on_a_touch_screen_the_first_tap_shows_the_definition_and_the_second_goes_there(
    server: Server, browser: Any
) -> None:
    opened = Watched(browser, server, viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True)
    page = opened.page
    page.goto(f"{server.url}/terms/rag/", wait_until="networkidle")
    link = page.locator("article p > a[href='../fine-tuning/']").first
    link.tap()
    card(page).wait_for()
    assert page.url.endswith("/terms/rag/")
    card(page).get_by_role("link").tap()
    page.wait_for_url("**/terms/fine-tuning/")
    page.context.close()


FIRST_THREE = """async ({ worker, queries }) => {
    const search = new Worker(worker);
    const ask = (message) => new Promise((answer) => {
        search.onmessage = ({ data }) => answer(data);
        search.postMessage(message);
    });
    const index = await (await fetch("/search/search_index.json")).json();
    await ask({ type: 0, data: { ...index, options: {} } });
    const found = {};
    for (const query of queries) {
        const { data } = await ask({ type: 2, data: query });
        found[query] = data.items.slice(0, 3).map(([first]) => first.location.replace(/#.*/, ""));
    }
    return found;
}"""
"""The pages that the search of the theme lists first for each query; the numbers are its own names of messages."""


def test_a_term_is_among_the_first_three_results_for_each_of_its_names_and_misspellings(
    site: Path, server: Server, watched: Watched
) -> None:
    glossary = load_glossary(Project(ROOT))
    also_typed = glossary.settings.also_typed
    wanted = [(slug, query) for slug, term in glossary.terms.items() for query in (*term.names, *also_typed[slug])]
    (worker,) = (site / "assets" / "javascripts" / "workers").glob("search.*.min.js")
    watched.page.goto(f"{server.url}/404.html")
    asked = {"worker": f"/{worker.relative_to(site)}", "queries": [query for _, query in wanted]}
    found = watched.page.evaluate(FIRST_THREE, asked)
    missed = {query: found[query] for slug, query in wanted if f"terms/{slug}/" not in found[query]}
    assert missed == {}


def test_a_misspelling_in_the_search_box_leads_to_the_term(server: Server, watched: Watched) -> None:
    page = watched.page
    page.goto(f"{server.url}/", wait_until="networkidle")
    page.keyboard.press("/")
    page.locator("[data-md-component=search-query]").fill("catastrofic forgetting")
    page.keyboard.press("End")  # the theme listens to keys
    page.locator(".md-search-result__link[href*='terms/catastrophic-forgetting/']").first.click()
    page.wait_for_url("**/terms/catastrophic-forgetting/**")


@pytest.mark.parametrize(
    ("typed", "term"),
    [("LoRAA", "LoRA"), ("fine-tunning", "Fine-tuning"), ("tokeniser", "Tokenizer"), ("olra", "LoRA")],
)
def test_the_search_offers_a_term_that_is_one_letter_away(
    server: Server, watched: Watched, typed: str, term: str
) -> None:
    page = watched.page
    page.goto(f"{server.url}/", wait_until="networkidle")
    page.keyboard.press("/")
    query = page.locator("[data-md-component=search-query]")
    query.fill(typed)
    page.locator(".ft-meant").get_by_role("link", name=term, exact=True).wait_for()
    query.fill(term)
    page.wait_for_function("!document.querySelector('.ft-meant')?.textContent")
    assert watched.errors == []


def test_progress_on_a_path_is_kept_in_the_browser(server: Server, watched: Watched) -> None:
    page = watched.page
    page.goto(f"{server.url}/paths/", wait_until="networkidle")
    box = page.locator("[data-path=decide] input").first
    assert not box.is_checked()
    box.check()
    page.reload(wait_until="networkidle")
    assert page.locator("[data-path=decide] input").first.is_checked()
    assert page.locator("[data-path=decide] .ft-path-said").inner_text().startswith("1 of ")


def test_the_map_of_terms_leads_to_each_and_singles_out_neighbours(server: Server, watched: Watched) -> None:
    page = watched.page
    page.goto(f"{server.url}/network/", wait_until="networkidle")
    nodes = page.locator(".ft-node")
    assert nodes.count() == page.locator(".ft-terms li").count() > 50
    page.locator(".ft-node[data-slug=lora]").focus()
    near = page.locator(".ft-node.ft-near")
    assert {"lora", "rank", "peft"} <= {node.get_attribute("data-slug") for node in near.all()}
    page.keyboard.press("Enter")
    page.wait_for_url("**/terms/lora/")
    assert watched.errors == []


OVERLAPPING = """() => {
    const labels = [...document.querySelectorAll(".ft-net text")].map((text) => [text.textContent, text.getBBox()]);
    const meet = (a, b) => a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
    return labels.flatMap(([name, box], at) =>
        labels.slice(at + 1).filter(([, other]) => meet(box, other)).map(([other]) => `${name} / ${other}`));
}"""


@pytest.mark.parametrize("scripts", [True, False])
@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_names_on_the_map_are_large_enough_to_read_and_do_not_overlap(
    server: Server, browser: Any, size: dict[str, int], scripts: bool
) -> None:
    opened = Watched(browser, server, viewport=size, java_script_enabled=scripts)
    opened.page.goto(f"{server.url}/network/", wait_until="load")
    assert opened.page.evaluate(OVERLAPPING) == []
    picture = opened.page.locator(".ft-net")
    drawn = picture.bounding_box()
    assert drawn is not None
    width = float((picture.get_attribute("viewBox") or "").split()[2])
    assert 15 * drawn["width"] / width >= 12  # pixels
    assert opened.page.locator(".ft-zoom").is_visible() == scripts
    opened.page.context.close()


def test_the_map_is_zoomed_by_button_and_key_and_moved_by_mouse_and_key(server: Server, watched: Watched) -> None:
    page = watched.page
    page.set_viewport_size(WIDE)
    page.goto(f"{server.url}/network/", wait_until="networkidle")
    view = page.locator(".ft-map-view")
    width = "document.querySelector('.ft-net').getBoundingClientRect().width"
    first, top = page.evaluate(width), view.bounding_box()
    page.get_by_role("button", name="Zoom in").click()
    assert page.evaluate(width) == pytest.approx(1.4 * first, rel=0.01)
    assert view.bounding_box() == pytest.approx(top, abs=0.1)  # nothing on the page moves
    view.focus()
    page.keyboard.press("+")
    assert page.evaluate(width) == pytest.approx(1.96 * first, rel=0.01)
    assert top is not None
    before = view.evaluate("view => view.scrollLeft")
    page.mouse.move(top["x"] + 400, top["y"] + 200)
    page.mouse.down()
    page.mouse.move(top["x"] + 300, top["y"] + 150, steps=4)
    page.mouse.up()
    assert view.evaluate("view => view.scrollLeft") == pytest.approx(before + 100, abs=2)
    assert page.url.endswith("/network/")  # a drag that ends on a term does not open it
    page.keyboard.press("0")
    assert page.evaluate(width) <= first
    assert watched.errors == []


def test_the_index_is_filtered_by_level_without_javascript(server: Server, browser: Any) -> None:
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(f"{server.url}/terms/")
    every = page.locator(".ft-entry:visible").count()
    page.get_by_text("In depth", exact=True).first.click()
    deep = page.locator(".ft-entry:visible").count()
    assert 0 < deep < every
    assert deep == page.locator(".ft-entry.ft-at-depth").count()
    page.context.close()


def test_the_lora_page_shows_what_was_measured_and_leads_to_the_demo(server: Server, watched: Watched) -> None:
    page = watched.page
    page.goto(f"{server.url}/terms/lora/", wait_until="networkidle")
    assert page.locator("svg.ft-chart").count() == 2  # what was forgotten, learning rates
    assert page.locator("math").count() > 10
    assert "?" not in "".join(page.locator("data").all_inner_texts())
    page.get_by_role("link", name="Open the live demo").click()
    page.wait_for_url("**/demos/lora/")
    page.get_by_role("button", name="Train").wait_for()
    assert watched.strangers == []


def test_a_recorded_run_is_scrubbed_through_by_keyboard_and_played(server: Server, watched: Watched) -> None:
    page = watched.page
    page.clock.install()
    page.goto(f"{server.url}/experiments/specialist/", wait_until="networkidle")
    player = page.locator("ft-player")
    slider, told, said = player.get_by_role("slider"), player.locator("output"), player.locator("blockquote")
    last, after = told.inner_text(), said.inner_text()
    slider.focus()
    page.keyboard.press("Home")
    assert told.inner_text().startswith("step 0,")
    assert "before the first step" in player.inner_text()
    before = said.inner_text()
    assert before != after
    page.keyboard.press("ArrowRight")
    assert told.inner_text().startswith("step 1,")
    page.keyboard.press("End")
    assert (told.inner_text(), said.inner_text()) == (last, after)
    player.get_by_role("combobox").select_option(index=1)
    assert said.inner_text() != after
    player.get_by_role("button", name="Play").click()
    page.wait_for_function("document.querySelector('ft-player').place > 3")
    player.get_by_role("button", name="Pause").click()
    stopped = told.inner_text()
    page.clock.run_for(10_000)
    assert told.inner_text() == stopped
    assert watched.errors == []


def test_without_javascript_the_recorded_run_is_a_picture_with_its_words(server: Server, browser: Any) -> None:
    opened = Watched(browser, server, java_script_enabled=False)
    opened.page.goto(f"{server.url}/experiments/specialist/")
    assert opened.page.locator("ft-player svg[role=img]").is_visible()
    assert "Training loss" in (opened.page.locator("ft-player svg").get_attribute("aria-label") or "")
    assert opened.page.locator("ft-player button").count() == 0
    opened.page.context.close()


@pytest.mark.parametrize("script", ["player.js", "glossary.js"])
def test_our_scripts_are_small(script: str) -> None:
    # 15 KB, compressed: less than a small picture
    assert len(gzip.compress((ROOT / "docs" / "assets" / script).read_bytes())) < 15 * 1024


def test_zensical_builds_the_same_pages_from_the_same_configuration(site: Path, tmp_path: Path) -> None:
    """It calls no hook of ours, so what pages include is written first."""
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    for name in ("docs", "docs_src", "ftdemo", "build"):  # the derived files were written for the site above
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.safetensors", "__pycache__"))
    tool = Path(sys.executable).with_name("zensical")
    done = subprocess.run([tool, "build", "--clean"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    built = tmp_path / "site"
    assert pages(built) == pages(site)
    text = (built / "terms" / "lora" / "index.html").read_text(encoding="utf-8")
    assert "<ft-player" in (built / "experiments" / "specialist" / "index.html").read_text(encoding="utf-8")
    for part in ("<math", 'id="hu2021lora"', 'class="ft-chart"', "<details><summary>"):
        assert part in text, part
    assert "application/ld+json" in text
    assert "--8&lt;--" not in text
    assert "--8<--" not in text
    assert (built / "assets" / "derived" / "cards.json").exists()


def ready(watched: Watched, server: Server, examples: int = 8, demo: str = "lora") -> Any:
    """A demo's page, once the model is loaded, with so many examples chosen."""
    page = watched.page
    page.goto(f"{server.url}/demos/{demo}/")
    wait_for_status(page, "Ready")
    chosen = page.get_by_label(re.compile("number input for Training examples"))
    chosen.fill(str(examples))
    chosen.press("Tab")
    return page


def own_data(page: Any) -> Any:
    """The part of a demo that takes a visitor's own examples, opened."""
    page.get_by_role("button", name="Use your own examples").click()
    part = page.locator("#own")
    part.get_by_label("Examples as text").wait_for()
    return part


def wait_for_status(page: Any, said: str | re.Pattern[str], *, after_error: bool = False) -> None:
    """Until the demo says this; an error that it says instead ends the wait, unless one stood there before."""
    status = page.locator("#status")
    ends = status.filter(has_text=said)
    if not after_error:
        ends = ends.or_(page.locator("#status:has(.ft-error)"))
    with contextlib.suppress(PlaywrightError):  # what it says instead is told below
        ends.wait_for(timeout=RUN_SECONDS * 1000)
    assert re.search(said if isinstance(said, re.Pattern) else re.escape(said), status.inner_text()), (
        status.inner_text()
    )


SHAPES = {
    "SmolLM2, 135 million": (49152, 576, 1536, 30, 9, 3, True),
    "TinyLlama, 1.1 billion": (32000, 2048, 5632, 22, 32, 4, False),
    "Llama 2, 7 billion": (32000, 4096, 11008, 32, 32, 32, False),
    "Llama 2, 70 billion": (32000, 8192, 28672, 80, 64, 8, False),
}
"""What the calculator offers, as a configuration has it: vocabulary, widths, layers, heads, key heads, tied head."""


def test_the_calculator_has_the_formulas_of_the_package(server: Server, watched: Watched) -> None:
    page = watched.page
    page.goto(f"{server.url}/guides/calculators/")
    module = "import('/assets/calculators.js')"
    offered = page.evaluate(f"async () => Object.fromEntries(Object.entries((await {module}).ACCELERATORS))")
    assert offered == {name: [device.peak, device.memory_bytes] for name, device in memory.ACCELERATORS.items()}
    assert page.evaluate(f"async () => ({{...(await {module}).BYTES}})") == memory.BYTES
    assert page.evaluate(f"async () => Object.keys((await {module}).MODELS)") == list(SHAPES)
    for place, (name, shape) in enumerate(SHAPES.items()):
        keys = ["vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"]
        keys += ["num_key_value_heads", "tie_word_embeddings"]
        known: dict[str, Any] = dict(zip(keys, shape, strict=True))
        config = transformers.LlamaConfig(**known)
        size = memory.size_of(config)
        for method in ("full", "lora", "qlora"):
            low_rank, rank = method != "full", 2 ** (place + 2)
            trainable = parameter_counts(config, method=method, rank=rank).trainable
            tokens, batch = 1000.0 * 311 * 3, 4096 + place
            held = memory.training_memory(
                size,
                trainable=trainable,
                low_rank=low_rank,
                frozen="nf4" if method == "qlora" else "bfloat16",
                products="bfloat16",
                batch_tokens=batch,
                row_tokens=311,
                trained_tokens=batch * 0.37,
            )
            work = memory.operations(
                size, trainable=trainable, low_rank=low_rank, tokens=tokens, row_tokens=311, trained_share=0.37
            )
            ours = [size.total, size.matrices, trainable, tokens, work, held.total, held.weights, held.activations]
            ours += [memory.seconds_on(memory.ACCELERATORS["A100"], work, 0.3), memory.price(tokens, 25)]
            values = {"model": name, "method": method, "rank": rank, "rows": 1000, "row_tokens": 311, "epochs": 3}
            values |= {"trained": 37, "batch_tokens": batch, "device": "A100", "utilization": 30, "per_million": 25}
            theirs = page.evaluate(
                f"""async values => {{
                    const found = (await {module}).calculate(values)
                    const {{size, held}} = found
                    return [size.total, size.matrices, found.trainable, found.tokens, found.count, held.total,
                            held.weights, held.activations, found.seconds, found.price]
                }}""",
                values,
            )
            assert theirs == pytest.approx(ours, rel=1e-9)
    assert watched.errors == []


def test_the_calculator_follows_the_reader_and_names_a_number_that_cannot_be(server: Server, watched: Watched) -> None:
    page = watched.page
    page.goto(f"{server.url}/guides/calculators/")
    calculator = page.locator("ft-calculator")
    result = calculator.get_by_role("status")
    calculator.get_by_label("Model").select_option("Llama 2, 7 billion")
    assert "19,988,480 of 6,738,415,616" in result.inner_text()
    calculator.get_by_label("Rank").fill("16")
    assert "39,976,960" in result.inner_text()
    calculator.get_by_label("Method").select_option("full")
    assert "does not fit" in result.inner_text()
    assert calculator.get_by_label("Rank").is_disabled()
    assert calculator.get_by_label("Accelerator utilisation (%)").input_value() == "30"
    calculator.get_by_label("Epochs").fill("0")
    assert result.inner_text() == "Epochs: enter a whole number from 1 to 1,000."
    assert watched.errors == []


def test_a_person_judges_pairs_without_being_told_whose_they_are(browser: Any, tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text("data: rows.jsonl\nout: out\n", encoding="utf-8")
    (tmp_path / "out").mkdir()
    answers = [[Answer(f"Where is it, {n}?", f"{who} {n}", "", True) for n in range(3)] for who in ("base", "<b>tuned")]
    ab_test.write_pairs(tmp_path / "out", *answers, seed=1, of="run")
    server = start("judge", str(tmp_path / "plan.yaml"))
    watched = Watched(browser, server)
    try:
        page = watched.page
        page.goto(server.url)
        for number, button in enumerate(("better-a", "better-even", "better-b")):
            page.locator("#status", has_text=f"{number} of 3 pairs judged").wait_for()
            page.locator("#pair", has_text=f"Where is it, {number}?").wait_for()
            page.locator(f"#{button}").click()
        page.locator("#status", has_text="3 of 3 pairs judged").wait_for()
        assert page.locator("#better-a").is_disabled()
        pairs = ab_test.read_pairs(tmp_path / "out")
        wins = [float(pairs[0]["a"].startswith("<b>tuned")), 0.5, float(pairs[2]["b"].startswith("<b>tuned"))]
        assert list(ab_test.read_judgements(tmp_path / "out").values()) == wins
        assert watched.errors == []
        assert watched.strangers == []
    finally:
        watched.page.context.close()
        server.process.terminate()
        server.process.wait(STOP_SECONDS)


class LateCloses:
    """The news that a stream of answers is closed comes late, as it may on a busy machine or a slow line."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def late(message: Any) -> None:
            if b"close_stream" in message.get("body", b""):
                await asyncio.sleep(0.05)
            await send(message)

        await self._app(scope, receive, late)


def _after_a_while(text: str) -> str:
    """By then the page reads the stream of its answers."""
    time.sleep(0.05)
    return text


def test_what_is_asked_while_the_stream_of_answers_closes_is_answered(browser: Any) -> None:
    """Without `HeldReceipts` every second of these requests waits for ever."""
    with gr.Blocks(analytics_enabled=False) as blocks:
        asked = gr.Textbox(elem_id="asked")
        button, first, second = gr.Button("Ask"), gr.HTML(elem_id="first"), gr.HTML(elem_id="second")
        button.click(_after_a_while, asked, first)
        gr.Button("Ask again").click(lambda text: text, asked, second)
    settings = theme.launch_settings()
    settings["app_kwargs"]["middleware"].insert(0, Middleware(LateCloses))
    _, url, _ = blocks.launch(**settings, prevent_thread_lock=True, quiet=True)
    page = browser.new_page()
    try:
        page.goto(url)
        page.get_by_role("button", name="Ask again").wait_for()
        for number in range(1, 13):
            page.get_by_label("Textbox").fill(f"question {number}.")
            page.evaluate(
                """asked => {
                    const [ask, again] = ["Ask", "Ask again"].map(
                        name => [...document.querySelectorAll("button")].find(each => each.innerText.trim() === name))
                    const answered = new MutationObserver(() => {
                        if (!document.querySelector("#first")?.innerText.includes(asked)) return
                        answered.disconnect()
                        again.click()
                    })
                    answered.observe(document.body, {childList: true, subtree: true, characterData: true})
                    ask.click()
                }""",
                f"question {number}.",
            )
            page.locator("#second", has_text=f"question {number}.").wait_for(timeout=10_000)
        assert page.locator("#second").inner_text().strip().endswith("question 12.")
    finally:
        page.close()
        blocks.close()


def wait_for_a_reply(page: Any) -> None:
    """Until the model has said something."""
    page.wait_for_function(
        "[...document.querySelectorAll('.message.bot')].some(m => m.innerText.trim().length > 10)",
        timeout=RUN_SECONDS * 1000,
    )


def test_a_visitor_trains_sees_the_curve_and_the_answers_change_and_talks_to_the_model(
    server: Server, watched: Watched
) -> None:
    page = ready(watched, server)
    before = page.locator("#answers").inner_text()
    dots = page.locator("#chart circle").count()
    page.get_by_role("button", name="Train").click()
    page.wait_for_function(f"document.querySelectorAll('#chart circle').length > {dots}", timeout=RUN_SECONDS * 1000)
    wait_for_status(page, "weights trained")
    assert page.locator("#chart circle").count() >= dots + 4
    assert page.locator("#answers").inner_text() != before
    with page.expect_download() as download:
        page.get_by_role("button", name="Download this run").click()
    back = page.get_by_role("link", name="Read what it is, when to use it").get_attribute("href")
    assert back == "/terms/lora/"
    assert download.value.suggested_filename.endswith(".zip")
    page.get_by_label("Your message").fill("Is my lamp here?")
    page.get_by_label("Your message").press("Enter")
    reply = page.locator(".message.bot").last
    wait_for_a_reply(page)
    assert reply.inner_text().strip()
    assert watched.errors == []
    assert watched.strangers == []


def test_the_sft_demo_marks_the_tokens_that_count_and_trains_on_them(server: Server, watched: Watched) -> None:
    page = ready(watched, server, demo="sft")
    counted = "[...document.querySelectorAll('#tokens mark')].map(mark => mark.innerText).join('|')"
    page.wait_for_function(f"{counted}.endsWith('<|im_end|>')")
    assert "Msg from ward" not in page.evaluate(counted)
    page.get_by_label("Train the stop token").uncheck()
    page.wait_for_function(f"{counted}.length && !{counted}.includes('<|im_end|>')")
    page.get_by_label("notes and replies").check()
    page.wait_for_function(f"{counted}.includes('Msg from ward 7')")
    page.get_by_role("button", name="Train").click()
    wait_for_status(page, "weights trained")
    assert "--set train_on=all --set train_stop=false" in page.locator(".cm-content").inner_text()
    assert watched.errors == []
    assert watched.strangers == []


def test_the_fine_tuning_demo_names_the_bad_row_of_a_file_and_trains_on_a_good_one(
    server: Server, watched: Watched, chats: Path, tmp_path: Path
) -> None:
    page = ready(watched, server, demo="fine-tuning")
    bad = tmp_path / "bad.jsonl"
    bad.write_text(chats.read_text(encoding="utf-8") + '{"prompt": "No completion"}\n', encoding="utf-8")
    upload, train = own_data(page).locator("input[type=file]").last, page.get_by_role("button", name="Train")
    upload.set_input_files(str(bad))
    page.locator("#own-report", has_text="bad.jsonl:41: neither").wait_for(
        timeout=RUN_SECONDS * 1000
    )  # told before anything is trained
    train.click()
    wait_for_status(page, "bad.jsonl:41")
    assert "Traceback" not in page.locator("#status").inner_text()
    page.locator("#own-file").get_by_label("Clear").click()
    page.locator("#own-report", has_text="bad.jsonl").wait_for(state="hidden", timeout=RUN_SECONDS * 1000)
    page.locator("#own-file").get_by_text("bad.jsonl").wait_for(state="hidden", timeout=RUN_SECONDS * 1000)
    upload_until_shown(page, upload, chats)
    train.click()
    wait_for_status(page, "Old questions answered correctly", after_error=True)
    assert f"data={chats.name}" in page.locator(".cm-content").inner_text()
    page.get_by_label("Message for both").fill("Where is my lamp?")
    page.get_by_label("Message for both").press("Enter")
    replied = "[...document.querySelectorAll('#both .ft-said')].filter(said => said.innerText.length > 1).length"
    page.wait_for_function(f"{replied} === 2", timeout=RUN_SECONDS * 1000)
    assert watched.errors == []
    assert watched.strangers == []


def upload_until_shown(page: Any, upload: Any, file: Path) -> None:
    """Choose a file, and again if the page lost it: on a busy machine, clearing one can take the next with it."""
    ends = time.monotonic() + RUN_SECONDS
    while time.monotonic() < ends:
        upload.set_input_files(str(file))
        with contextlib.suppress(PlaywrightError):
            page.locator("#own-report", has_text="all of them usable").wait_for(timeout=TRY_SECONDS * 1000)
            return
    raise AssertionError(f"{file.name} was never taken")


def answers_of_four(page: Any) -> list[str]:
    """The four answers to what is asked now; the fourth comes last."""
    page.locator("#ask").click()
    page.wait_for_function(
        "document.querySelectorAll('#replies .ft-note').length >= 3 && "
        "!document.querySelector('#replies').innerText.includes('…')",
        timeout=RUN_SECONDS * 1000,
    )
    return [each.inner_text() for each in page.locator("#replies .ft-said").all()]


def test_the_four_ways_demo_asks_all_and_only_the_one_that_reads_goes_along_with_a_changed_fact(
    server: Server, watched: Watched
) -> None:
    page = ready(watched, server, demo="prompting-rag-fine-tuning")
    alone, _, read, tuned = answers_of_four(page)
    assert "gooseberry" in read.lower()
    assert "gooseberry" not in alone.lower()
    assert "Press Train first" in tuned
    assert re.search(
        r"s, \d+ tokens read \(\d+ of them the same in every prompt\), \d+ tokens written",
        page.locator("#replies .ft-note").first.inner_text(),
    )
    page.get_by_label("Change ten of these facts").check()
    page.wait_for_function("document.querySelector('#notes textarea').value.includes('the code word cinnamon')")
    page.evaluate("document.querySelector('#replies .ft-answers').remove()")
    alone_again, _, read_again, _ = answers_of_four(page)
    assert alone_again == alone
    assert "cinnamon" in read_again.lower()
    assert "gooseberry" not in read_again.lower()
    assert watched.errors == []
    assert watched.strangers == []


@pytest.mark.slow
def test_the_four_ways_demo_tunes_a_model_that_answers_in_the_form_it_learned(server: Server, watched: Watched) -> None:
    page = ready(watched, server, demo="prompting-rag-fine-tuning")
    page.get_by_label("tickets as JSON").check()
    page.locator("#notes").wait_for(state="hidden")
    number = page.get_by_label("number input for Training examples")
    number.fill("16")
    number.press("Tab")
    page.get_by_role("button", name="Train").click()
    wait_for_status(page, "weights trained")
    assert "--set model=smollm2 --set data=short-tickets" in page.locator(".cm-content").inner_text()
    *_, tuned = answers_of_four(page)
    assert tuned.strip().startswith("{")
    assert watched.errors == []
    assert watched.strangers == []


@pytest.mark.slow
def test_the_transfer_demo_draws_three_ways_and_sorts_a_message_by_each(server: Server, watched: Watched) -> None:
    page = watched.page
    page.goto(f"{server.url}/demos/transfer-learning/")
    page.get_by_label("32", exact=True).check()
    page.locator("#expected", has_text="A run takes about").wait_for(timeout=RUN_SECONDS * 1000)
    page.get_by_role("button", name="Train").click()
    wait_for_status(page, "Guessing would get")
    assert page.locator("#chart").get_by_text("linear probe").count() >= 1
    page.get_by_label("Your message").fill("Where is my parcel? It was due on Friday.")
    page.get_by_label("Your message").press("Enter")
    page.wait_for_function("document.querySelectorAll('#sorted dd').length === 3", timeout=RUN_SECONDS * 1000)
    assert watched.errors == []
    assert watched.strangers == []


def test_the_pre_training_demo_reads_a_text_of_the_visitors_own_and_goes_on_with_it(
    server: Server, watched: Watched
) -> None:
    page = watched.page
    page.goto(f"{server.url}/demos/pre-training/")
    wait_for_status(page, "Ready")
    own_data(page)
    own, train = page.get_by_label("Examples as text"), page.get_by_role("button", name="Train")
    own.fill("Too short.")
    train.click()
    wait_for_status(page, "provide more text")
    goods = ("rugs", "mops", "lamps", "salt", "towels", "<b>fish</b>", "nails")
    days = [
        f"Day {day}. Van {day * 7} came from {place} with {day * 3} boxes of {goods[day % 7]} and left by {day % 12}."
        for day, place in enumerate(("Leeds", "Bristol", "Norwich", "Swansea", "Dundee") * 12)
    ]
    own.fill("\n\n".join(days))
    train.click()
    wait_for_status(page, "weights trained", after_error=True)
    assert "data=pasted.txt" in page.locator(".cm-content").inner_text()
    assert page.locator("#chart").get_by_text("bigram").count() == 1
    assert page.locator("#answers b").count() == 0  # what a visitor brings is shown, never run
    page.get_by_label("Your message").fill("Day 3. Van 21 came from")
    page.get_by_label("Your message").press("Enter")
    wait_for_a_reply(page)
    assert watched.errors == []
    assert watched.strangers == []


def test_a_run_survives_a_reload_and_another_tab_does_not_see_it(server: Server, watched: Watched) -> None:
    page = ready(watched, server, examples=160, demo="sft")
    page.get_by_label("notes and replies").check()
    page.get_by_role("button", name="Train").click()
    wait_for_status(page, re.compile(r"Step \d+ of"))
    page.reload()
    wait_for_status(page, re.compile(r"Step \d+ of"))
    assert page.get_by_label("notes and replies").is_checked()
    assert page.get_by_label(re.compile("number input for Training examples")).input_value() == "160"
    other = page.context.new_page()
    other.goto(f"{server.url}/demos/sft/")
    wait_for_status(other, "Ready")
    assert not other.get_by_label("notes and replies").is_checked()
    wait_for_status(page, "weights trained")
    page.get_by_label("Your message").fill("floor lamp arrived broken, new one sent today")
    page.get_by_label("Your message").press("Enter")
    wait_for_a_reply(page)
    page.reload()  # what is over is still there
    wait_for_status(page, "weights trained")
    assert "weights trained" not in other.locator("#status").inner_text()


def test_another_visitor_is_answered_while_one_trains(server: Server, watched: Watched, browser: Any) -> None:
    trained = ready(watched, server, examples=8, demo="sft")
    trained.get_by_role("button", name="Train").click()
    wait_for_status(trained, "weights trained")
    busy = ready(Watched(browser, server), server, examples=500, demo="sft")
    busy.get_by_role("button", name="Train").click()
    wait_for_status(busy, re.compile(r"Step \d+ of"))
    trained.get_by_label("Your message").fill("floor lamp arrived broken, new one sent today")
    trained.get_by_label("Your message").press("Enter")
    wait_for_a_reply(trained)
    assert "weights trained" not in busy.locator("#status").inner_text()
    busy.get_by_role("button", name="Stop").click()
    wait_for_status(busy, "Stopped early")
    busy.context.close()


def test_a_page_opens_its_demo_within_itself_when_asked_and_not_before(server: Server, watched: Watched) -> None:
    page = watched.page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{server.url}/terms/lora/", wait_until="networkidle")
    assert not any("/demos/" in url for url in asked)
    page.get_by_role("button", name="Open it on this page").click()
    page.frame_locator("iframe.ft-demo").get_by_role("button", name="Train").wait_for()
    assert page.get_by_role("link", name="Download the notebook").count() == 1
    assert watched.strangers == []


@pytest.mark.slow
def test_the_studio_holds_every_demo(watched: Watched, server: Server) -> None:
    studio = start("demo", "studio")
    try:
        page = watched.page
        page.goto(studio.url)
        for name in demo_names():
            if name != "studio":
                page.locator(f"a[href$='{name}']").first.wait_for()
        page.goto(f"{studio.url}/sft")
        wait_for_status(page, "Ready")
        assert page.get_by_role("button", name="Train").count() == 1
    finally:
        studio.process.terminate()
        studio.process.wait(STOP_SECONDS)
    assert watched.errors == []


def test_the_demo_works_with_the_keyboard_alone(server: Server, watched: Watched) -> None:
    page = ready(watched, server, examples=240)  # several seconds of steps: a browser does not show each of a quick run
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "train":
            break
    assert page.evaluate("document.activeElement.id") == "train"
    page.keyboard.press("Enter")
    wait_for_status(page, re.compile(r"Step \d+ of"))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "stop"
    page.keyboard.press("Enter")
    wait_for_status(page, "weights trained")
    assert watched.errors == []


def test_chat_before_training_says_what_to_do(server: Server, watched: Watched) -> None:
    page = ready(watched, server)
    page.get_by_label("Your message").fill("Hello?")
    page.get_by_role("button", name="Send").click()
    told = page.get_by_text("No model has been trained yet. Press Train first.")
    told.wait_for()
    assert told.is_visible()
