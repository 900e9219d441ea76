import json
import os
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click
import pytest
import yaml
from conftest import STARTED

from ftdemo import charts
from ftdemo.cli.main import main
from ftdemo.errors import DataError
from ftdemo.experiments.spec import Spec, as_record, decide, find_experiments
from ftdemo.site import mathml
from ftdemo.site.check import check_site, fill
from ftdemo.site.derive import derive
from ftdemo.site.experiment_pages import ExperimentPages
from ftdemo.site.number_tags import update_numbers
from ftdemo.site.project import Project
from ftdemo.site.quotes import code_block
from ftdemo.site.sources import source_list

PAGE = """\
---
title: A
term: A
summary: The first letter of the alphabet.
level: start
sources: [hu2021lora]
demo: lora
reviewed: 2026-11-21
---

# A

It doubles ([Hu et al., 2022](#hu2021lora)).

--8<-- "code/maths.double.md"
"""
NUMBER_LINE = len(PAGE.splitlines()) + 1
BIBLIOGRAPHY = (
    "@inproceedings{hu2021lora, author={Hu, Edward J. and Shen, Yelong}, title={{LoRA}: Low-Rank & Adaptation}, "
    "booktitle={ICLR}, year={2022}, eprint={2106.09685}, archivePrefix={arXiv}}\n"
)
CODE = '''\
"""Sums."""

from functools import lru_cache


def before() -> None:
    """Not this one."""


@lru_cache
@lru_cache(maxsize=4)
def double(number: int) -> int:
    """Twice the number."""
    return 2 * number


class Pair:
    """Two numbers."""

    left: int
    right: int
'''


SPEC: dict[str, Any] = {
    "title": "One arm",
    "question": "Does it learn?",
    "recipe": {"model": "smollm2"},
    "arms": {"lora": {}},
    "seeds": [0, 1],
    "shown": "lora",
    "charts": [{"id": "formats", "title": "Format", "y": "scores.after.format", "label": "0 to 1"}],
    "claims": [{"id": "format", "says": "It learns <the> form.", "value": "lora:scores.after.format", "at_least": 0.8}],
}


def _run(seed: int, format_after: float) -> dict[str, Any]:
    """A run, as an experiment's record has it."""
    answer = {
        "prompt": "Is <b>it</b> here?",
        "text": "Sighted: <script>alert(1)</script>\n\nYes.",
        "reference": "Sighted: Yes.",
        "stopped": True,
    }
    before, after = {"format": 0.0, "voice": 0.4}, {"format": format_after, "voice": 1.0}
    return {
        "arm": "lora",
        "seed": seed,
        "recipe": {"seed": seed},
        "started": asdict(replace(STARTED, total_steps=2)),
        "curve": [[1, 2.9], [2, 2.1]],
        "heldout": [[0, 2.8712], [2, 1.4321]],
        "samples": [
            {"step": 0, "scores": before, "answers": [answer]},
            {"step": 2, "scores": after, "answers": [answer]},
        ],
        "scores": {"before": before, "after": after},
        "heldout_loss": {"before": 2.8712, "after": 1.4321},
        "steps": 2,
        "tokens": 1000,
        "seconds": 120.0,
        "tokens_per_second": 500.0,
        "peak_memory_bytes": 1_300_000_000,
        "saved_bytes": 9_800_000,
    }


def _record(*formats: float) -> dict[str, Any]:
    """An experiment's record with a run for each score."""
    runs = {f"lora/{seed}": _run(seed, score) for seed, score in enumerate(formats)}
    return {
        "version": 1,
        "experiment": "x",
        "created": "2026-11-21T12:00:00+00:00",
        "versions": {"ftdemo": "0.1.0", "python": "3.11", "torch": "2.8", "transformers": "5.10", "peft": "0.19"},
        "hardware": {"device": "cpu", "device_name": "a small & slow one", "cores": 2},
        "seconds": 240.0,
        "claims": as_record(decide(Spec(**SPEC), runs)),
        "runs": runs,
    }


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A glossary of one term, one source, one function and one experiment with two seeds."""
    files = {
        "mkdocs.yml": "extra: {plugins: ['ftdemo.site.experiment_pages:ExperimentPages']}",
        "docs/terms/a.md": PAGE,
        "docs/glossary.yaml": "{name: Letters, about: All of them., levels: {start: Start}, demos: 'https://demos.example/{name}'}",
        "docs/references.bib": BIBLIOGRAPHY,
        "demos/lora/app.py": "",
        "tests/test_maths.py": "from ftdemo.maths import Pair, double\n",
        "ftdemo/maths.py": CODE,
        "docs/experiments/x/experiment.yaml": yaml.safe_dump(SPEC),
        "docs/experiments/x/record.json": json.dumps(_record(0.9, 0.96)),
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return Project(tmp_path)


def _data(key: str, printed: str) -> str:
    return f'<data value="{key}">{printed}</data>'


def _append(project: Project, line: str) -> Path:
    page = project.docs / "terms" / "a.md"
    page.write_text(f"{PAGE}{line}\n", encoding="utf-8")
    return page


@pytest.mark.parametrize(
    ("key", "printed", "rewritten"),
    [
        ("x:lora/0:heldout_loss.after", "9.99", "1.43"),
        ("x:lora/0:heldout_loss.after", "9.9", "1.4"),
        ("x:lora/0:heldout_loss.after", "9", "1"),
        ("x:lora/0:heldout_loss.after", "?.??", "1.43"),
        ("x:lora/0:steps", "?", "2"),
        ("x:lora/0:tokens", "9,999", "1,000"),
        ("x:lora/0:started.trainable_parameters", "?", "2,442,240"),
        ("x:lora/0:started.trainable_parameters", "?,???", "2,442,240"),
        ("x:lora/0:started.adapter_bytes", "0.0 MB", "9.8 MB"),
        ("x:lora/0:started.adapter_bytes", "? MB", "10 MB"),
        ("x:lora/0:peak_memory_bytes", "?.? GB", "1.3 GB"),
        ("x:lora/0:scores.after.format", "0%", "90%"),
        ("x:lora/0:scores.after.format", "?.?%", "90.0%"),
        ("x:lora/0:tokens_per_second", "?", "500"),
        ("x:lora/0:seconds", "? min", "2 min"),
        ("x:lora/0:saved_bytes", "? kB", "9,800 kB"),
        ("x:claim/format:value", "?.??", "0.93"),
    ],
)
def test_a_number_is_written_in_the_form_in_which_it_was_printed(
    key: str, printed: str, rewritten: str, project: Project
) -> None:
    plugins = [ExperimentPages(project)]
    assert update_numbers(f"from {_data(key, printed)} on", plugins) == f"from {_data(key, rewritten)} on"


def test_a_key_with_a_seed_gives_one_run_and_without_one_the_mean(project: Project) -> None:
    text = " ".join(_data(f"{place}:scores.after.format", "?%") for place in ("x:lora/0", "x:lora/1", "x:lora"))
    assert re.findall(r">(\d+%)<", update_numbers(text, [ExperimentPages(project)])) == ["90%", "96%", "93%"]


def test_text_without_measured_numbers_is_left_as_it_is(project: Project) -> None:
    assert update_numbers(PAGE, [ExperimentPages(project)]) == PAGE


def test_a_page_that_holds_has_no_problems(project: Project) -> None:
    assert check_site(project) == []


@pytest.mark.parametrize(
    "key",
    [
        "y:lora:steps",
        "x:full:steps",
        "x:lora/9:steps",
        "x:lora:nothing",
        "x:lora:scores.after.charm",
        "x:lora:scores",
        "x:lora:recipe.model",
        "x:claim/fame:value",
        "x:claim/format:says",
        "x:created",
        "x:",
        "x",
    ],
)
def test_a_number_that_no_record_holds_is_reported_with_page_line_and_key(key: str, project: Project) -> None:
    _append(project, _data(key, "1"))
    (problem,) = check_site(project)
    assert problem.startswith(f"docs/terms/a.md:{NUMBER_LINE}: No recorded number `{key}`.")
    assert "experiment:arm:path.to.number" in problem


@pytest.mark.parametrize("printed", ["", "about 2", "2 nats", "1e3", "98 %", "two", "1.2.3"])
def test_a_number_in_an_odd_form_is_reported_with_page_line_and_form(printed: str, project: Project) -> None:
    _append(project, _data("x:lora/0:steps", printed))
    (problem,) = check_site(project)
    assert problem.startswith(f"docs/terms/a.md:{NUMBER_LINE}: `{_data('x:lora/0:steps', printed)}` is not a number")
    assert "98%" in problem


@pytest.mark.parametrize(
    "tag",
    [
        '<data value="x:lora/0:steps">9\n</data>',
        '<data\nvalue="x:lora/0:steps">9</data>',
        "<data value='x:lora/0:steps'>9</data>",
        '<data value="x:lora/0:steps"><b>9</b></data>',
    ],
)
def test_a_number_whose_tag_cannot_be_checked_is_reported(tag: str, project: Project) -> None:
    _append(project, tag)
    (problem,) = check_site(project)
    assert problem.startswith(f"docs/terms/a.md:{NUMBER_LINE}: ")


def test_a_number_that_differs_from_its_record_is_reported_and_left_alone(project: Project) -> None:
    page = _append(project, _data("x:lora/0:heldout_loss.after", "1.44"))
    (problem,) = check_site(project)
    assert problem.startswith(f"docs/terms/a.md:{NUMBER_LINE}: a number differs from its record.")
    assert "1.44" in page.read_text(encoding="utf-8")


def test_the_command_that_mends_a_number_exists(project: Project) -> None:
    _append(project, _data("x:lora/0:heldout_loss.after", "1.44"))
    named = re.search(r"`ftdemo site (\w+)`", check_site(project)[0])
    assert named is not None
    site = main.get_command(click.Context(main), "site")
    assert isinstance(site, click.Group)
    assert named[1] in site.commands


def test_fill_writes_the_recorded_number_and_nothing_else(project: Project) -> None:
    page = _append(project, f"It fell to {_data('x:lora/0:heldout_loss.after', '?.??')} nats.")
    assert fill(project) == [page]
    assert (
        page.read_text(encoding="utf-8") == f"{PAGE}It fell to {_data('x:lora/0:heldout_loss.after', '1.43')} nats.\n"
    )
    assert check_site(project) == []
    assert fill(project) == []


def test_fill_refuses_what_is_not_recorded(project: Project) -> None:
    _append(project, _data("y:lora:steps", "1"))
    with pytest.raises(DataError, match="No recorded number `y:lora:steps`"):
        fill(project)


def test_a_changed_record_makes_the_check_fail_until_the_page_is_filled(project: Project) -> None:
    _append(project, _data("x:lora:scores.after.format", "93%"))
    assert check_site(project) == []
    record = project.docs / "experiments" / "x" / "record.json"
    record.write_text(json.dumps(_record(0.5, 0.6)), encoding="utf-8")
    (problem,) = check_site(project)
    assert problem.startswith(f"docs/terms/a.md:{NUMBER_LINE}: a number differs from its record.")
    fill(project)
    assert check_site(project) == []


def test_code_is_quoted_from_its_first_decorator_to_its_end_without_its_docstring(project: Project) -> None:
    quoted = code_block(project.package, "maths.double")
    wanted = CODE[CODE.index("@lru_cache\n") : CODE.index("\n\n\nclass Pair")]
    wanted = wanted.replace('    """Twice the number."""\n', "")
    assert quoted == f'```python title="ftdemo/maths.py"\n{wanted}\n```\n'


def test_a_class_is_quoted_whole(project: Project) -> None:
    quoted = code_block(project.package, "maths.Pair")
    assert "class Pair:\n    left: int" in quoted
    assert "right: int" in quoted
    assert "double" not in quoted


@pytest.mark.parametrize(
    ("name", "missing"),
    [("maths.halve", "halve in ftdemo/maths.py"), ("nowhere.double", "nowhere"), ("double", "double")],
)
def test_code_that_is_not_there_is_named(name: str, missing: str, project: Project) -> None:
    with pytest.raises(DataError) as refusal:
        code_block(project.package, name)
    assert missing in refusal.value.what
    assert "module.function" in refusal.value.remedy


def test_a_source_that_is_in_no_bibliography_is_reported(project: Project) -> None:
    page = project.docs / "terms" / "a.md"
    page.write_text(PAGE.replace("[hu2021lora]", "[hu2021lora, nobody2020]") + "[N](#nobody2020)\n", encoding="utf-8")
    assert check_site(project) == ["docs/terms/a.md:6: source nobody2020 is not in references.bib. Add it."]
    with pytest.raises(DataError, match="nobody2020") as refusal:
        derive(project)
    assert "a.md" in refusal.value.what


def test_a_citation_that_is_not_among_the_sources_is_reported(project: Project) -> None:
    _append(project, "[Someone, 2020](#someone2020)")
    assert check_site(project) == [
        f"docs/terms/a.md:{NUMBER_LINE}: someone2020 is cited, but not under `sources`. Add it."
    ]


def test_a_source_that_is_never_cited_is_reported(project: Project) -> None:
    page = project.docs / "terms" / "a.md"
    page.write_text(PAGE.replace("(#hu2021lora)", "(#a)"), encoding="utf-8")
    assert check_site(project) == ["docs/terms/a.md:6: source hu2021lora is never cited. Cite it or drop it."]


def test_an_entry_that_no_page_uses_is_reported(project: Project) -> None:
    spare = "@misc{spare2020, author={Spare, A.}, title={Spare}, year={2020}}\n"
    (project.docs / "references.bib").write_text(BIBLIOGRAPHY + spare, encoding="utf-8")
    (problem,) = check_site(project)
    assert problem.startswith("docs/references.bib:")
    assert "spare2020 is used by no page" in problem


def _derived(project: Project) -> dict[str, Path]:
    roots = (project.derived, project.docs / "assets" / "derived")
    files = [path for root in roots for path in root.rglob("*") if path.is_file()]
    return {path.relative_to(project.root).as_posix(): path for path in files}


def test_everything_that_pages_include_is_written(project: Project) -> None:
    derive(project)
    assert set(_derived(project)) == {
        "build/derived/code/maths.double.md",
        "build/derived/demos/lora.md",
        "build/derived/glossary/flagships.md",
        "build/derived/glossary/index.md",
        "build/derived/glossary/map.html",
        "build/derived/glossary/network.md",
        "build/derived/glossary/paths.md",
        "build/derived/glossary/references.md",
        "build/derived/head/a.md",
        "build/derived/related/a.md",
        "build/derived/runs/overview.md",
        "build/derived/runs/x/answers.md",
        "build/derived/runs/x/arms.md",
        "build/derived/runs/x/claims.md",
        "build/derived/runs/x/facts.md",
        "build/derived/runs/x/formats.html",
        "build/derived/runs/x/loss.html",
        "build/derived/runs/x/page.md",
        "build/derived/runs/x/player.html",
        "build/derived/runs/x/scores.html",
        "build/derived/runs/x/seeds.md",
        "build/derived/sources/a.md",
        "docs/assets/derived/cards.json",
        "docs/assets/derived/charts.css",
    }


def test_a_second_time_touches_no_file_and_a_new_record_only_its_own(project: Project) -> None:
    derive(project)
    for path in _derived(project).values():
        os.utime(path, (1, 1))
    derive(project)
    assert {path.stat().st_mtime for path in _derived(project).values()} == {1}
    record = _record(0.9, 0.96)
    record["runs"]["lora/0"]["samples"][1]["answers"][0]["text"] = "Another."
    (project.docs / "experiments" / "x" / "record.json").write_text(json.dumps(record), encoding="utf-8")
    derive(project)
    assert {name for name, path in _derived(project).items() if path.stat().st_mtime != 1} == {
        "build/derived/runs/x/answers.md",
        "build/derived/runs/x/page.md",
        "build/derived/runs/x/player.html",
    }


def _text(project: Project, name: str) -> str:
    derive(project)
    return (project.derived / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["loss.html", "scores.html", "formats.html"])
def test_a_figure_is_well_formed_and_says_when_and_where_it_was_recorded(name: str, project: Project) -> None:
    figure = ElementTree.fromstring(_text(project, f"runs/x/{name}"))
    caption = figure.find("figcaption")
    assert caption is not None
    assert "".join(caption.itertext()) == (
        "Recorded on 2026-11-21, 2 cores of a small & slow one, in float32. Repeat it: ftdemo record x"
    )


def _cells(text: str) -> list[list[str]]:
    """The rows of the tables in a piece of HTML."""
    return [["".join(cell.itertext()) for cell in row] for row in ElementTree.fromstring(text).iter("tr")]


def test_a_picture_brings_its_numbers_as_a_table(project: Project) -> None:
    _head, row = _cells(_text(project, "runs/x/formats.html"))
    assert row[:2] == ["lora", "0.93"]
    assert row[3] == "0.9, 0.96"
    assert ["2", "2.100", "1.432"] in _cells(_text(project, "runs/x/loss.html"))


def test_the_table_of_claims_says_how_each_came_out(project: Project) -> None:
    _head, row = _cells(_text(project, "runs/x/claims.md"))
    # runs without questions are shown; two of them decide little, by Student's t: 0.93 ± 12.7 · 0.03
    assert row == ["It learns <the> form.", "two runs: 0.9, 0.96", "at least 0.8", "– inconclusive"]


def test_the_overview_counts_the_claims_of_each_experiment_and_says_how_to_repeat_it(project: Project) -> None:
    text = _text(project, "runs/overview.md")
    assert "| [One arm](experiments/x.md) | Does it learn? | 0 | 0 | 1 | 4 min |" in text


def test_an_experiments_page_says_first_what_was_found_and_last_how_to_repeat_it(project: Project) -> None:
    text = _text(project, "runs/x/page.md")
    parts = ["Does it learn?", "in float32", "## What we found", "– inconclusive", "## Details", "ftdemo record x "]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert "two runs: 0.9, 0.96" in text


def test_the_player_holds_a_picture_and_the_runs_data_and_no_markup_of_others(project: Project) -> None:
    text = _text(project, "runs/x/player.html")
    assert text.count("<script") == 1
    player = ElementTree.fromstring(text)
    data = json.loads(
        re.findall(r'<script type="application/json">(.*)</script></ft-player></div>', text, re.DOTALL)[0]
    )
    assert player.find("ft-player/figure") is not None
    assert data["curve"] == [[1, 2.9], [2, 2.1]]
    assert [sample["step"] for sample in data["samples"]] == [0, 2]
    assert "<script>alert(1)</script>" in data["samples"][0]["answers"][0]["text"]


def test_recorded_answers_are_escaped_and_hold_no_blank_line(project: Project) -> None:
    text = _text(project, "runs/x/answers.md")
    assert "&lt;script&gt;" in text
    assert "<script" not in text
    assert "<b>" not in text
    assert "\n\n" not in text


def test_the_table_of_seeds_has_each_seed_the_mean_and_the_spread(project: Project) -> None:
    rows = {
        line.split(" | ")[0].strip("| *"): line.split(" | ") for line in _text(project, "runs/x/seeds.md").splitlines()
    }
    column = rows["seed"].index("format after")
    assert [rows[name][column] for name in ("0", "1", "mean", "lowest", "highest")] == [
        "0.90",
        "0.96",
        "0.93",
        "0.90",
        "0.96",
    ]


def test_the_facts_tell_how_to_do_the_run_again(project: Project) -> None:
    text = _text(project, "runs/x/facts.md")
    assert "ftdemo record x" in text
    assert "2,442,240 (1.78% of all)" in text
    assert "9.8 MB" in text


def test_a_source_is_listed_with_people_year_title_and_link(project: Project) -> None:
    items = ElementTree.fromstring(_text(project, "sources/a.md"))
    (item,) = items
    assert item.get("id") == "hu2021lora"
    assert "".join(item.itertext()) == (
        "Edward J. Hu, Yelong Shen (2022). LoRA: Low-Rank & Adaptation. ICLR. arXiv:2106.09685"
    )
    link = item.find("a")
    assert link is not None
    assert link.get("href") == "https://arxiv.org/abs/2106.09685"


def test_a_source_with_an_address_links_to_it(project: Project) -> None:
    address = "https://maker.example/shop?lang=en&page=2"
    entry = (
        "@misc{hu2021lora, author={Maker}, title={Harbours}, year={2024}, "
        f"howpublished={{Maker's pages}}, url={{{address}}}}}\n"
    )
    (project.docs / "references.bib").write_text(entry, encoding="utf-8")
    (item,) = ElementTree.fromstring(_text(project, "sources/a.md"))
    assert "".join(item.itertext()) == "Maker (2024). Harbours. Maker's pages."
    assert [link.get("href") for link in item.iter("a")] == [address]


def test_a_source_that_can_age_says_in_which_month_it_was_checked() -> None:
    entry = {"ID": "a2026", "author": "Host", "title": "Prices", "howpublished": "List", "year": "2026"}
    entry |= {"url": "https://host.example/", "urldate": "2026-11-28"}
    (item,) = ElementTree.fromstring(source_list([entry["ID"]], {entry["ID"]: entry}, Path("a.md")))
    assert "".join(item.itertext()) == "Host (2026). Prices. List. Checked November 2026."
    entry["urldate"] = "November 2026"
    with pytest.raises(DataError, match="the urldate of a2026 is 'November 2026', which is not a date"):
        source_list([entry["ID"]], {entry["ID"]: entry}, Path("a.md"))


def test_the_demos_link_leads_where_the_demos_run(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FTDEMO_DEMOS_URL", raising=False)
    assert 'href="https://demos.example/lora"' in _text(project, "demos/lora.md")
    monkeypatch.setenv("FTDEMO_DEMOS_URL", "/demos/{name}/")
    assert 'href="/demos/lora/"' in _text(project, "demos/lora.md")


def test_the_charts_colours_are_on_the_site(project: Project) -> None:
    derive(project)
    css = (project.docs / "assets" / "derived" / "charts.css").read_text(encoding="utf-8")
    assert css.strip() == charts.CSS.strip()


@pytest.mark.parametrize(
    ("formula", "display"),
    [
        (mathml.block("h = W x + \\frac{\\alpha}{r} B A x\n", "math", "ft-math", {}, None), "block"),
        (mathml.inline("d_{\\text{in}} < r", "math", "ft-math", None), "inline"),
    ],
)
def test_a_formula_is_mathml_and_loads_no_script(formula: str, display: str) -> None:
    math = next(ElementTree.fromstring(f"<p>{formula}</p>").iter("{http://www.w3.org/1998/Math/MathML}math"))
    assert math.get("display") == display
    assert "".join(math.itertext()).strip()
    assert not re.search(r"<script|<img|<link|src=|href=", formula)


def test_every_recorded_experiment_has_a_page_that_the_navigation_lists() -> None:
    docs = Path(__file__).parents[2] / "docs"
    navigation = (docs.parent / "mkdocs.yml").read_text(encoding="utf-8")
    for name, found in find_experiments(docs / "experiments").items():
        if found.record():
            assert f'--8<-- "runs/{name}/page.md"' in (docs / "experiments" / f"{name}.md").read_text(encoding="utf-8")
            assert f"experiments/{name}.md" in navigation
