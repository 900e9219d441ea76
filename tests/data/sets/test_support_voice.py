import re

import pytest

from ftdemo.data import BUILT_IN, Row, load_splits
from ftdemo.data.sets.support_voice import checker

SET = BUILT_IN["support-voice"]
SPLITS = load_splits("support-voice", seed=0)
TRAIN = [row for row in SPLITS.train if isinstance(row, Row)]
HELDOUT = [row for row in SPLITS.heldout if isinstance(row, Row)]
ALL = TRAIN + HELDOUT

SIGHTED = "Sighted: Your lantern came to you with a cracked glass."
COURSE = "Course: We put a new glass on the post boat, skipper. Keep the old frame dry."
TIDE = "Tide: Look for it by noon on Friday."
ANSWER = f"{SIGHTED}\n{COURSE}\n{TIDE}"


def _letter(row: Row) -> str:
    return row.prompt[-1].content


def _runs_of_three(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"[a-z0-9']+", text.lower())
    return {tuple(words[start : start + 3]) for start in range(len(words) - 2)}


def test_there_are_enough_rows_to_train_on_and_sixty_to_judge_by() -> None:
    assert len(TRAIN) >= 300
    assert len(HELDOUT) == 60


def test_every_row_is_a_conversation() -> None:
    assert len(TRAIN) == len(SPLITS.train)
    assert len(HELDOUT) == len(SPLITS.heldout)


def test_every_row_is_one_letter_and_one_answer() -> None:
    for row in ALL:
        assert [turn.role for turn in row.turns] == ["user", "assistant"]


def test_every_reference_answer_has_full_scores() -> None:
    short = {row.reference: checker.score(row.reference) for row in ALL}
    assert {text: scores for text, scores in short.items() if scores != {"format": 1.0, "voice": 1.0}} == {}


def test_no_letter_is_written_twice() -> None:
    assert len({" ".join(_letter(row).lower().split()) for row in ALL}) == len(ALL)


def test_no_answer_is_given_twice() -> None:
    assert len({" ".join(row.reference.lower().split()) for row in ALL}) == len(ALL)


def test_no_heldout_letter_shares_half_of_its_runs_of_three_words_with_a_training_letter() -> None:
    training = [_runs_of_three(_letter(row)) for row in TRAIN]
    for row in HELDOUT:
        runs = _runs_of_three(_letter(row))
        assert runs, _letter(row)
        assert max(len(runs & other) for other in training) <= len(runs) / 2, _letter(row)


def test_the_card_names_the_true_number_of_rows() -> None:
    card = SET.card.read_text(encoding="utf-8")
    assert f"| train | `{SET.train.name}` | {len(TRAIN)} |" in card
    assert f"| held-out | `{SET.heldout.name}` | {len(HELDOUT)} |" in card
    assert f"| rows | {len(TRAIN)} | {len(HELDOUT)} |" in card


def test_the_set_is_scored_by_its_checker() -> None:
    assert SET.score is checker.score


def test_an_answer_by_the_rules_has_full_scores() -> None:
    assert checker.score(ANSWER) == {"format": 1.0, "voice": 1.0}


def test_white_space_around_the_whole_answer_does_not_count() -> None:
    assert checker.score(f"\n  {ANSWER}\n\n") == {"format": 1.0, "voice": 1.0}


def test_course_may_be_one_sentence() -> None:
    assert checker.score(ANSWER.replace(" Keep the old frame dry.", ""))["format"] == 1.0


def test_a_price_with_a_decimal_point_does_not_end_a_sentence() -> None:
    assert checker.score(ANSWER.replace("cracked glass", "cracked 2.5 litre glass"))["format"] == 1.0


FORMAT_BROKEN = {
    "a label missing": f"{SIGHTED}\n{COURSE}\nLook for it by noon on Friday.",
    "a line missing": f"{SIGHTED}\n{COURSE}",
    "another order": f"{COURSE}\n{SIGHTED}\n{TIDE}",
    "the same label twice": f"{SIGHTED}\n{SIGHTED}\n{TIDE}",
    "a label in small letters": ANSWER.replace("Course:", "course:"),
    "a label in bold": ANSWER.replace("Course:", "**Course:**"),
    "no space after a label": ANSWER.replace("Course: ", "Course:"),
    "two spaces after a label": ANSWER.replace("Course: ", "Course:  "),
    "a line too many": f"{ANSWER}\nFair winds.",
    "text before": f"Dear skipper,\n{ANSWER}",
    "text before on the same line": f"Ahoy. {ANSWER}",
    "blank lines between": ANSWER.replace("\n", "\n\n"),
    "all on one line": ANSWER.replace("\n", " "),
    "white space at a line's end": ANSWER.replace("\n", " \n"),
    "no full stop": ANSWER.replace("cracked glass.", "cracked glass"),
    "an exclamation mark for a full stop": ANSWER.replace("cracked glass.", "cracked glass!"),
    "nothing after a label": f"{SIGHTED}\nCourse: \n{TIDE}",
    "two sentences in Sighted": ANSWER.replace("cracked glass.", "cracked glass. It leaks."),
    "three sentences in Course": ANSWER.replace("frame dry.", "frame dry. Mind the shards."),
    "two sentences in Tide": ANSWER.replace("on Friday.", "on Friday. Or Saturday."),
    "a question counted as a sentence": ANSWER.replace("cracked glass.", "cracked glass? It leaks."),
    "a line too long": ANSWER.replace("cracked glass.", "cracked" + " and broken" * 20 + " glass."),
    "empty": "",
    "only white space": " \n \n ",
}


@pytest.mark.parametrize("text", FORMAT_BROKEN.values(), ids=FORMAT_BROKEN.keys())
def test_an_answer_that_breaks_a_rule_of_the_format_has_no_format_score(text: str) -> None:
    assert checker.score(text)["format"] == 0.0


def test_a_line_may_have_forty_words_and_no_more() -> None:
    forty, more = ("Sighted: " + "drip " * (count - 1) + "drip." for count in (40, 41))
    assert checker.score(f"{forty}\n{COURSE}\n{TIDE}")["format"] == 1.0
    assert checker.score(f"{more}\n{COURSE}\n{TIDE}")["format"] == 0.0


VOICE_BROKEN = {
    "no skipper": ANSWER.replace(", skipper", ""),
    "skipper twice": ANSWER.replace("by noon", "by noon, skipper,"),
    "no crew": ANSWER.replace("We put", "The loft puts"),
    "one person's I": ANSWER.replace("Keep", "I'd keep"),
    "one person's my": ANSWER.replace("the old frame", "my old frame"),
    "an exclamation mark": ANSWER.replace("dry.", "dry!"),
    "a question mark": ANSWER.replace("dry.", "dry?"),
    "sorry": ANSWER.replace("Your lantern", "Sorry that your lantern"),
    "an apology": ANSWER.replace("We put", "We apologise and put"),
    "please": ANSWER.replace("Keep", "Please keep"),
    "thanks": ANSWER.replace("dry.", "dry, with thanks."),
    "happy to help": ANSWER.replace("We put", "We are happy to help and put"),
    "no time in the last line": ANSWER.replace("by noon on Friday", "on the quay"),
}


@pytest.mark.parametrize("text", VOICE_BROKEN.values(), ids=VOICE_BROKEN.keys())
def test_each_broken_rule_of_the_voice_costs_a_fifth(text: str) -> None:
    assert checker.score(text)["voice"] == 0.8


def test_a_time_counts_in_the_last_line_alone() -> None:
    early = ANSWER.replace("by noon on Friday", "on the quay").replace("cracked glass", "cracked glass on Monday")
    assert checker.score(early)["voice"] == 0.8


def test_two_broken_rules_cost_two_fifths() -> None:
    assert checker.score(ANSWER.replace("We put", "I put"))["voice"] == 0.6


@pytest.mark.parametrize("text", ["", " ", "\n\n"])
def test_an_empty_answer_keeps_no_rule(text: str) -> None:
    assert checker.score(text) == {"format": 0.0, "voice": 0.0}


def test_the_answer_of_a_common_assistant_scores_low() -> None:
    scores = checker.score(
        "I'm sorry to hear that your lantern arrived damaged! I understand how frustrating this must be.\n\n"
        "Here are some steps you can take:\n1. Contact our customer service team.\n2. Provide your order number.\n\n"
        "Please let me know if I can assist you with anything else."
    )
    assert scores["format"] == 0.0
    assert scores["voice"] <= 0.2
