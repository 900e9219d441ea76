"""Passages are found: by words and by meaning, in the handbook that comes with the package."""

from __future__ import annotations

import pytest

from ftdemo.data import BUILT_IN, Row, read_rows
from ftdemo.data.documents import read_documents
from ftdemo.errors import UsageError
from ftdemo.evaluation.retrieval import SEARCHES, Bm25, Search, make_search

FACTS = read_documents(BUILT_IN["handbook"].folder / "documents.jsonl")
QUESTIONS = [row for row in read_rows(BUILT_IN["handbook"].heldout) if isinstance(row, Row)]


@pytest.fixture(scope="module", params=SEARCHES)
def search(request: pytest.FixtureRequest) -> Search:
    return make_search(request.param, FACTS)


def test_the_fact_that_answers_a_question_is_among_the_first_four(search: Search) -> None:
    """Four passages of 25 would hold one fact in six by chance. The questions are worded unlike the passages."""
    found = 0
    for row in QUESTIONS:
        wanted = row.constraints["contains"][0].lower()
        found += any(wanted in FACTS[place].lower() for place in search.best(row.prompt[-1].content, 4))
    assert found / len(QUESTIONS) >= 0.78  # measured: 0.815 by words, 0.945 by meaning


def test_a_question_in_strange_words_finds_as_many_as_were_asked_for(search: Search) -> None:
    for question in ("", "zzgh qqrt", "?"):
        assert len(set(search.best(question, 3))) == 3


def test_no_more_is_found_than_there_is(search: Search) -> None:
    few = SEARCHES["bm25" if isinstance(search, Bm25) else "minilm"](FACTS[:2])
    assert sorted(few.best("What does standard delivery cost?", 4)) == [0, 1]
    assert few.size < search.size


def test_only_meaning_finds_what_shares_no_word() -> None:
    passages = ["The vessel sails at dawn.", "Bread is baked on Mondays.", "Dogs must be kept on a lead."]
    question = "When does our ship leave in the morning?"
    assert make_search("minilm", passages).best(question, 1) == [0]


def test_nothing_to_search_in_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing to search in"):
        make_search("bm25", [])
