"""Statements about results: bound to recorded verdicts, and nothing bold or in a title that is not."""

from __future__ import annotations

import pytest

from ftdemo.site.claim_tags import claim_problems, show_claims
from ftdemo.site.plugins import Plugin, RecordedVerdict
from ftdemo.site.project import Project

RESULTS = '--8<-- "runs/x/loss.html"\n\n'


class Verdicts(Plugin):
    def verdict(self, key: str) -> RecordedVerdict | None:
        word = {"x:good": "confirmed", "x:bad": "refuted", "x:open": "inconclusive"}.get(key)
        return RecordedVerdict(word, "experiments.md#x") if word else None


@pytest.fixture
def plugins(tmp_path: object) -> list[Plugin]:
    return [Plugin(Project.__new__(Project)), Verdicts(Project.__new__(Project))]


def problems(text: str, plugins: list[Plugin]) -> list[str]:
    return [what for _line, what in claim_problems(text, plugins)]


def test_a_sentence_with_the_recorded_verdict_has_no_problems(plugins: list[Plugin]) -> None:
    page = f'## Results\n\n{RESULTS}**<claim id="x:good" verdict="confirmed">It learns the format.</claim>** More.'
    assert problems(page, plugins) == []
    assert problems(page.replace("**<claim", "<claim").replace("claim>**", "claim>"), plugins) == []


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ('id="x:bad" verdict="confirmed"', "claim `x:bad` is refuted, but the sentence is declared confirmed"),
        ('id="x:open" verdict="confirmed"', "claim `x:open` is inconclusive, but"),
        ('id="x:good" verdict="refuted"', "claim `x:good` is confirmed, but"),
        ('id="x:good" verdict="sure"', "claim `x:good` is confirmed, but the sentence is declared sure"),
        ('id="x:none" verdict="confirmed"', "there is no recorded claim `x:none`"),
        ('verdict="confirmed" id="x:good"', "a <claim> tag is broken"),
    ],
)
def test_a_sentence_that_says_more_than_its_verdict_is_a_problem(tag: str, said: str, plugins: list[Plugin]) -> None:
    (found,) = problems(f"<claim {tag}>It learns.</claim>", plugins)
    assert said in found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("**It learns the format.** So there.", "the bold sentence `It learns the format.` is bound to no claim"),
        ("**It learns\nthe format**. So there.", "the bold sentence `It learns the format` is bound to no claim"),
        ('**<data value="x:a:b">94%</data> of answers**', "is bound to no claim"),
        ("### It learns the format.", "the title `It learns the format.` states a result"),
        ('!!! success "It learns the format."', "the title `It learns the format.` states a result"),
        ('### From 0% to <data value="x:a:b">94%</data>', "states a result"),
    ],
)
def test_a_result_without_a_claim_is_neither_bold_nor_a_title(text: str, said: str, plugins: list[Plugin]) -> None:
    (found,) = problems(f"## Results\n\n{RESULTS}{text}\n", plugins)
    assert said in found


@pytest.mark.parametrize(
    "text",
    [
        "The **rank** is a number.",
        "### Choosing a rank",
        '!!! warning "What this run does not show"',
        "```text\n**It learns the format.**\n```",
        "It learns the format.",
    ],
)
def test_names_and_subjects_stay_free(text: str, plugins: list[Plugin]) -> None:
    assert problems(f"## Results\n\n{RESULTS}{text}\n", plugins) == []


def test_parts_without_results_stay_free(plugins: list[Plugin]) -> None:
    advice = "## Advice\n\n**Write down what a good answer is.**\n"
    assert problems(f"{advice}\n## Results\n\n{RESULTS}", plugins) == []


def test_a_problem_names_its_line(plugins: list[Plugin]) -> None:
    page = f"## Results\n\n{RESULTS}```text\nx\n```\n\n**It learns the format.**\n"
    assert [line for line, _what in claim_problems(page, plugins)] == [9]


def test_readers_get_the_sentence_with_a_link_to_the_evidence(plugins: list[Plugin]) -> None:
    page = '**<claim id="x:bad" verdict="refuted">It did\nnot.</claim>** More.'
    shown = show_claims(page, plugins, "../")
    assert shown == "**It did\nnot. [evidence](../experiments.md#x){ .evidence }** More."
