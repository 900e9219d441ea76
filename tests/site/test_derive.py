import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from conftest import STARTED

from ftdemo import charts
from ftdemo.cli import main
from ftdemo.errors import DataError
from ftdemo.events import Answer, Evaluated, Event, Finished, Sampled, Step, to_dict
from ftdemo.recipe import Recipe
from ftdemo.site import mathml
from ftdemo.site.derive import Project, check, code_block, derive
from ftdemo.site.measured import load_experiments, rewrite

PAGE = """\
---
title: A
sources: [hu2021lora]
demo: lora
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


def _events(format_after: float) -> list[Event]:
    answer = Answer("Is <b>it</b> here?", "Sighted: <script>alert(1)</script>\n\nYes.", "Sighted: Yes.", stopped=True)
    return [
        replace(STARTED, total_steps=2),
        Evaluated(step=0, loss=2.8712),
        Sampled(step=0, answers=(answer,), scores={"format": 0.0, "voice": 0.4}, seconds=1.0),
        Step(1, 2, 0.5, 2.9, 2e-3, 1.0, 500, 1.0),
        Step(2, 2, 1.0, 2.1, 4e-3, 1.0, 1000, 2.0),
        Evaluated(step=2, loss=1.4321),
        Sampled(step=2, answers=(answer,), scores={"format": format_after, "voice": 1.0}, seconds=1.0),
        Finished("completed", 2, 1000, 2.0, 500.0, 1_300_000_000),
    ]


def _record(seed: int, format_after: float) -> dict[str, Any]:
    """A run's record, in the shape of `run.json`."""
    return {
        "version": 1,
        "created": "2026-11-21T12:00:00+00:00",
        "status": "completed",
        "recipe": Recipe(seed=seed).model_dump(mode="json"),
        "model": {"name": "owner/small", "origin": "local folder", "sha256": "0" * 64, "licence": None},
        "dtype": "float32",
        "versions": {"ftdemo": "0.1.0", "python": "3.11", "torch": "2.8", "transformers": "5.10", "peft": "0.19"},
        "hardware": {"device": "cpu", "device_name": "a small & slow one", "cores": 2},
        "scores": {"before": {"format": 0.0, "voice": 0.4}, "after": {"format": format_after, "voice": 1.0}},
        "heldout_loss": {"before": 2.8712, "after": 1.4321},
        "steps": 2,
        "tokens": 1000,
        "seconds": 2.0,
        "tokens_per_second": 500.0,
        "peak_memory_bytes": 1_300_000_000,
        "events": [to_dict(event) for event in _events(format_after)],
    }


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A glossary of one term, one source, one function and one experiment with two seeds."""
    files = {
        "docs/terms/a.md": PAGE,
        "docs/references.bib": BIBLIOGRAPHY,
        "ftdemo/maths.py": CODE,
        "docs/experiments/x/seed-0.json": json.dumps(_record(0, 0.9)),
        "docs/experiments/x/seed-1.json": json.dumps(_record(1, 0.96)),
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
        ("x/seed-0:heldout_loss.after", "9.99", "1.43"),
        ("x/seed-0:heldout_loss.after", "9.9", "1.4"),
        ("x/seed-0:heldout_loss.after", "9", "1"),
        ("x/seed-0:heldout_loss.after", "?.??", "1.43"),
        ("x/seed-0:steps", "?", "2"),
        ("x/seed-0:tokens", "9,999", "1,000"),
        ("x/seed-0:started.trainable_parameters", "?", "2,442,240"),
        ("x/seed-0:started.trainable_parameters", "?,???", "2,442,240"),
        ("x/seed-0:started.adapter_bytes", "0.0 MB", "9.8 MB"),
        ("x/seed-0:started.adapter_bytes", "? MB", "10 MB"),
        ("x/seed-0:peak_memory_bytes", "?.? GB", "1.3 GB"),
        ("x/seed-0:scores.after.format", "0%", "90%"),
        ("x/seed-0:scores.after.format", "?.?%", "90.0%"),
        ("x/seed-0:finished.tokens_per_second", "?", "500"),
    ],
)
def test_a_number_is_written_in_the_form_in_which_it_was_printed(
    key: str, printed: str, rewritten: str, project: Project
) -> None:
    experiments = load_experiments(project.docs / "experiments")
    assert rewrite(f"from {_data(key, printed)} on", experiments) == f"from {_data(key, rewritten)} on"


def test_a_key_with_a_seed_gives_one_run_and_without_one_the_mean(project: Project) -> None:
    experiments = load_experiments(project.docs / "experiments")
    text = " ".join(_data(f"{place}:scores.after.format", "?%") for place in ("x/seed-0", "x/seed-1", "x"))
    assert re.findall(r">(\d+%)<", rewrite(text, experiments)) == ["90%", "96%", "93%"]


def test_text_without_measured_numbers_is_left_as_it_is(project: Project) -> None:
    assert rewrite(PAGE, load_experiments(project.docs / "experiments")) == PAGE


def test_a_page_that_holds_has_no_problems(project: Project) -> None:
    assert check(project) == []


@pytest.mark.parametrize(
    "key",
    [
        "y:steps",
        "x/seed-9:steps",
        "x:nothing",
        "x:scores.after.charm",
        "x:scores",
        "x:recipe.model",
        "x:created",
        "x:",
        "x",
    ],
)
def test_a_number_that_no_record_holds_is_reported_with_page_line_and_key(key: str, project: Project) -> None:
    _append(project, _data(key, "1"))
    (problem,) = check(project)
    assert problem.startswith(f"docs/terms/a.md:{NUMBER_LINE}: No recorded number `{key}`.")
    assert "experiment/seed-0:path.to.number" in problem


@pytest.mark.parametrize("printed", ["", "about 2", "2 nats", "1e3", "98 %", "-1.2", "two", "1.2.3"])
def test_a_number_in_an_odd_form_is_reported_with_page_line_and_form(printed: str, project: Project) -> None:
    _append(project, _data("x/seed-0:steps", printed))
    (problem,) = check(project)
    assert problem.startswith(f"docs/terms/a.md:{NUMBER_LINE}: `{_data('x/seed-0:steps', printed)}` is not a number")
    assert "98%" in problem


@pytest.mark.parametrize(
    "tag",
    [
        '<data value="x/seed-0:steps">9\n</data>',
        '<data\nvalue="x/seed-0:steps">9</data>',
        "<data value='x/seed-0:steps'>9</data>",
        '<data value="x/seed-0:steps"><b>9</b></data>',
    ],
)
def test_a_number_whose_tag_cannot_be_checked_is_reported(tag: str, project: Project) -> None:
    _append(project, tag)
    (problem,) = check(project)
    assert problem.startswith(f"docs/terms/a.md:{NUMBER_LINE}: ")


def test_a_number_that_differs_from_its_record_is_reported_and_left_alone(project: Project) -> None:
    page = _append(project, _data("x/seed-0:heldout_loss.after", "1.44"))
    (problem,) = check(project)
    assert problem.startswith(f"docs/terms/a.md:{NUMBER_LINE}: a number differs from its record.")
    assert "1.44" in page.read_text(encoding="utf-8")


def test_the_command_that_mends_a_number_exists(project: Project) -> None:
    _append(project, _data("x/seed-0:heldout_loss.after", "1.44"))
    named = re.search(r"`ftdemo (\w+)", check(project)[0])
    assert named is not None
    assert named[1] in main.commands


def test_update_writes_the_recorded_number_and_nothing_else(project: Project) -> None:
    page = _append(project, f"It fell to {_data('x/seed-0:heldout_loss.after', '?.??')} nats.")
    assert check(project, update=True) == []
    assert (
        page.read_text(encoding="utf-8") == f"{PAGE}It fell to {_data('x/seed-0:heldout_loss.after', '1.43')} nats.\n"
    )
    assert check(project) == []


def test_update_still_reports_what_it_cannot_mend(project: Project) -> None:
    _append(project, _data("y:steps", "1"))
    assert len(check(project, update=True)) == 1


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
    assert check(project) == ["docs/terms/a.md:1: source nobody2020 is not in references.bib. Add it."]
    with pytest.raises(DataError, match="nobody2020") as refusal:
        derive(project)
    assert "a.md" in refusal.value.what


def test_a_citation_that_is_not_among_the_sources_is_reported(project: Project) -> None:
    _append(project, "[Someone, 2020](#someone2020)")
    assert check(project) == ["docs/terms/a.md:1: someone2020 is cited, but not under `sources`. Add it."]


def test_a_source_that_is_never_cited_is_reported(project: Project) -> None:
    page = project.docs / "terms" / "a.md"
    page.write_text(PAGE.replace("(#hu2021lora)", "(#a)"), encoding="utf-8")
    assert check(project) == ["docs/terms/a.md:1: source hu2021lora is never cited. Cite it or drop it."]


def test_an_entry_that_no_page_uses_is_reported(project: Project) -> None:
    spare = "@misc{spare2020, author={Spare, A.}, title={Spare}, year={2020}}\n"
    (project.docs / "references.bib").write_text(BIBLIOGRAPHY + spare, encoding="utf-8")
    (problem,) = check(project)
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
        "build/derived/runs/x/answers.md",
        "build/derived/runs/x/facts.md",
        "build/derived/runs/x/loss.html",
        "build/derived/runs/x/scores.html",
        "build/derived/runs/x/seeds.md",
        "build/derived/sources/a.md",
        "docs/assets/derived/charts.css",
    }


def test_a_second_time_touches_no_file_and_a_new_record_only_its_own(project: Project) -> None:
    derive(project)
    for path in _derived(project).values():
        os.utime(path, (1, 1))
    derive(project)
    assert {path.stat().st_mtime for path in _derived(project).values()} == {1}
    (project.docs / "experiments" / "x" / "seed-1.json").write_text(json.dumps(_record(1, 0.5)), encoding="utf-8")
    derive(project)
    assert [name for name, path in _derived(project).items() if path.stat().st_mtime != 1] == [
        "build/derived/runs/x/seeds.md"
    ]


def _text(project: Project, name: str) -> str:
    derive(project)
    return (project.derived / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["loss.html", "scores.html"])
def test_a_figure_is_well_formed_and_says_when_and_where_it_was_recorded(name: str, project: Project) -> None:
    figure = ElementTree.fromstring(_text(project, f"runs/x/{name}"))
    assert figure.findtext("figcaption") == "Recorded on 2026-11-21: seed 0, 2 cores of a small & slow one."


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
    assert "ftdemo train docs/experiments/x/recipe.yaml --set seed=0" in text
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


def test_the_demos_link_leads_where_the_demos_run(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FTDEMO_DEMOS_URL", raising=False)
    assert 'href="https://huggingface.co/spaces/ftdemo/lora"' in _text(project, "demos/lora.md")
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
