import json
import re
from collections import Counter
from pathlib import Path
from typing import TypedDict

from ftdemo.data.sets import general_knowledge


class Question(TypedDict):
    question: str
    choices: list[str]
    answer: int


FOLDER = Path(general_knowledge.__file__).parent


def _lines(name: str) -> list[str]:
    return (FOLDER / name).read_text(encoding="utf-8").splitlines()


TEXTS: list[str] = [json.loads(line)["text"] for line in _lines("text.jsonl")]
QUESTIONS: list[Question] = [json.loads(line) for line in _lines("questions.jsonl")]


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


def _runs_of_eight(text: str) -> set[tuple[str, ...]]:
    words = _words(text)
    return {tuple(words[start : start + 8]) for start in range(len(words) - 7)}


def test_there_are_at_least_a_hundred_texts_of_fifty_words_or_more() -> None:
    assert len(TEXTS) >= 100
    assert [text for text in TEXTS if len(text.split()) < 50] == []


def test_no_text_is_written_twice() -> None:
    assert len({" ".join(_words(text)) for text in TEXTS}) == len(TEXTS)


def test_no_two_texts_share_a_run_of_eight_words() -> None:
    found = Counter(run for text in TEXTS for run in _runs_of_eight(text))
    assert [" ".join(run) for run, texts in found.items() if texts > 1] == []


def test_no_text_or_question_speaks_of_the_shop() -> None:
    everything = "\n".join([*TEXTS, *(json.dumps(row) for row in QUESTIONS)]).lower()
    assert [word for word in ("skipper", "kittewick", "brindle") if word in everything] == []


def test_there_are_at_least_sixty_questions() -> None:
    assert len(QUESTIONS) >= 60


def test_no_question_is_asked_twice() -> None:
    assert len({" ".join(_words(row["question"])) for row in QUESTIONS}) == len(QUESTIONS)


def test_every_question_has_four_different_choices() -> None:
    for row in QUESTIONS:
        assert len(row["choices"]) == 4, row["question"]
        assert len({choice.lower() for choice in row["choices"]}) == 4, row["question"]


def test_every_answer_is_the_place_of_a_choice() -> None:
    for row in QUESTIONS:
        assert type(row["answer"]) is int, row["question"]
        assert 0 <= row["answer"] < len(row["choices"]), row["question"]


def test_a_question_and_a_choice_join_with_one_space_and_no_full_stop() -> None:
    for row in QUESTIONS:
        for part in (row["question"], *row["choices"]):
            assert part == part.strip(), row["question"]
            assert part[-1] not in ".?", row["question"]


def test_the_right_choices_are_spread_evenly_over_the_four_places() -> None:
    places = Counter(row["answer"] for row in QUESTIONS)
    assert {place: 0.15 <= places[place] / len(QUESTIONS) <= 0.35 for place in range(4)} == dict.fromkeys(
        range(4), True
    )


def test_both_files_are_plain_ascii() -> None:
    for line in (*_lines("text.jsonl"), *_lines("questions.jsonl")):
        assert line.isascii()
        assert json.dumps(json.loads(line), ensure_ascii=False).isascii(), line


def test_the_card_names_the_true_counts() -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert f"| `text.jsonl` | pieces of general prose | {len(TEXTS)} |" in card
    assert f"| `questions.jsonl` | questions with four choices | {len(QUESTIONS)} |" in card
    assert f"| {sum(len(text.split()) for text in TEXTS):,} |" in card
