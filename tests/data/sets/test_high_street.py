"""What the high street's stream of texts promises: right records, answers that are in the text, plain English."""

import json
import random
import re
import string
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import islice, pairwise
from pathlib import Path

import pytest

from ftdemo.data import Text, load_splits
from ftdemo.data.sets import high_street
from ftdemo.data.sets.high_street import documents, pairs, requests, sentence_parses, short_pairs, trials, turns
from ftdemo.data.sets.high_street.documents import MAX_WORDS, MIN_WORDS, SHARES, _wish, document, story
from ftdemo.data.sets.high_street.drills import drill
from ftdemo.data.sets.high_street.kinds import plural_of, product_names
from ftdemo.data.sets.high_street.lexicon import word_lists
from ftdemo.data.sets.high_street.messages import Message, holds, message
from ftdemo.data.sets.high_street.records import FORMS, sentence, value_of
from ftdemo.data.sets.high_street.scripts import library
from ftdemo.data.sets.high_street.tickets import _plans
from ftdemo.data.sets.high_street.trials import score_answer, score_record
from ftdemo.data.sets.high_street.untidy import untidy
from ftdemo.data.sets.stories.grammar import Slot
from ftdemo.data.sets.stories.kinds import Field
from ftdemo.data.sets.stories.telling import Telling
from ftdemo.data.sets.stories.tokens import sentences
from ftdemo.data.sets.tickets import CATEGORIES
from ftdemo.recipe import Recipe
from ftdemo.training.loop import plan_run
from ftdemo.training.prepare import prepare

SAMPLE_BYTES = 1_000_000
STORIES = 300
CORRUPTED = 200
SIGNS = string.digits + ".,;:!?'\"()-/&%+=*#@$[]{}<>_\n£"
WORD = re.compile(r"[a-z']+")
WRONG_FORM = {
    **{"was": "were", "is": "are", "had": "have", "has": "have", "a": "an", "an": "a"},
    **{"he": "him", "she": "her", "his": "her"},
}
JOB_TICKET = ["category", "product", "order", "urgency", "wants"]
OBJECT = re.compile(r"\{\".*\}")


@cache
def _sample() -> tuple[str, ...]:
    found, size = [], 0
    for text in documents(0):
        found.append(text)
        size += len(text)
        if size > SAMPLE_BYTES:
            return tuple(found)
    raise AssertionError("the stream ended")


@cache
def _of_kind(kind: str) -> tuple[str, ...]:
    chance = random.Random(5)
    made = (document(chance) for _ in range(3000))
    return tuple(text for found, text in made if found == kind)


@cache
def _messages() -> tuple[Message, ...]:
    chance = random.Random(6)
    return tuple(message(chance) for _ in range(2000))


@cache
def _stories() -> tuple[Telling, ...]:
    chance = random.Random(3)
    return tuple(story(chance) for _ in range(STORIES))


@cache
def _sentences() -> tuple[str, ...]:
    return tuple(
        found for told in _stories() for paragraph in told.text.split("\n\n") for found in sentences(paragraph)
    )


def _some_sentences() -> list[str]:
    long_enough = [found for found in _sentences() if len(found.split()) >= 5]
    return random.Random(7).sample(long_enough, CORRUPTED)


def _caught(corrupted: list[str]) -> float:
    return sum(not sentence_parses(found) for found in corrupted) / len(corrupted)


def _objects() -> Iterator[dict[str, object]]:
    for text in _sample():
        for found in OBJECT.findall(text):
            yield json.loads(found)


def test_the_same_seed_gives_the_same_texts_and_another_seed_others() -> None:
    first, again, other = (list(islice(documents(seed), 200)) for seed in (0, 0, 1))
    assert first == again
    assert not set(first) & set(other)


def test_no_text_comes_twice_and_each_keeps_to_its_length() -> None:
    sample = _sample()
    assert len(set(sample)) == len(sample)
    assert all(MIN_WORDS <= len(text.split()) <= MAX_WORDS for text in sample)


def test_every_sign_occurs_and_nothing_but_ascii_and_the_pound_sign() -> None:
    found = set().union(*_sample())
    assert set(SIGNS) <= found
    assert found <= set(string.ascii_letters + SIGNS + " ")


def _runs(text: str, length: int) -> Iterator[tuple[str, ...]]:
    words = WORD.findall(text.lower())
    return zip(*(words[start:] for start in range(length)), strict=False)


@pytest.mark.parametrize("name", ["tickets", "replies", "routing", "handbook"])
def test_no_run_of_eight_words_is_that_of_a_row_to_fine_tune_on(name: str) -> None:
    files = sorted((Path(high_street.__file__).parents[1] / name).glob("*.jsonl"))
    rows = [json.loads(line) for file in files for line in file.open(encoding="utf-8")]
    held = {run for row in rows for text in row.values() if isinstance(text, str) for run in _runs(text, 8)}
    assert len(held) > 500
    tickets = (row["prompt"] for row in islice(pairs(0, heldout=False), 1000))
    assert {run for text in (*_sample(), *tickets) for run in _runs(text, 8)} & held == set()


def test_nothing_of_the_templates_is_left_in_a_text() -> None:
    left = re.compile(
        r"[~^|\\]|  |\{[@=]|\b[Aa] (?!one|ewe|uni|us[eu]|eu)[aeiou]|\b[Aa]n (?!hour|honest|heir)[^aeiou8E]"
    )
    assert [text for text in _sample() if left.search(text)] == []


@pytest.mark.parametrize("kind", SHARES)
def test_every_kind_comes_as_often_as_its_share_says(kind: str) -> None:
    assert len(_of_kind(kind)) / 3000 == pytest.approx(SHARES[kind] / sum(SHARES.values()), rel=0.35)


def test_messages_come_from_many_plans() -> None:
    plans = {
        (script.name, line)
        for script in library().scripts
        if script.kind == "message"
        for line in script.beats[0].lines
    }
    assert len(plans) >= 150


def test_what_a_record_copies_stands_in_the_message() -> None:
    chance = random.Random(8)
    aliases = {
        (nouns := entry.removeprefix("+").split("/"))[0]: (*nouns, *map(plural_of, nouns))
        for name in ("electric", "soft", "hard", "furniture")
        for entry in word_lists()[name].entries
    }
    for found in _messages():
        typed = untidy(found.text, chance).lower()
        for field in ("name", "city", "day", "colour"):
            value = found.fields.get(field)
            assert value is None or holds(found.text, value), found
        assert found.fields["order"] is None or found.fields["order"] in typed
        item = found.fields["item"]
        assert item is None or any(holds(found.text.lower(), alias) for alias in aliases[item])


def test_a_record_has_nothing_where_the_message_says_nothing() -> None:
    for found in _messages():
        if found.fields["order"] is None:
            assert not re.search(r"\d{5}", found.text), found.text
        if found.fields.get("name", "") is None:
            names = {*word_lists()["girl_name"].entries, *word_lists()["boy_name"].entries}
            assert not names & set(re.findall(r"[A-Z][a-z]+", found.text)) - {"Rose", "Mark", "Grace"}, found.text


def test_untidy_messages_keep_their_figures() -> None:
    chance = random.Random(9)
    for found in _messages()[:500]:
        assert re.findall(r"\d+", untidy(found.text, chance)) == re.findall(r"\d+", found.text)


def test_json_records_parse_and_never_have_the_keys_of_the_job() -> None:
    found = list(_objects())
    assert len(found) > 200
    assert all(1 <= len(record) <= 6 for record in found)
    assert [record for record in found if list(record) == JOB_TICKET or "category" in record] == []


def test_every_form_has_its_own_heading() -> None:
    assert len({form.heading for form in FORMS}) == len(FORMS)


def test_every_value_of_a_record_occurs() -> None:
    for key in ("topic", "team", "tray", "asks_for", "next", "when", "urgent"):
        assert len({value_of(key, found.fields) for found in _messages()}) == (
            {"asks_for": 6, "next": 6, "when": 3, "urgent": 2}.get(key, 8)
        )


def test_a_sentence_says_what_its_record_says() -> None:
    for found in _messages()[:500]:
        said = sentence(found)
        assert all((found.fields.get(name) or "") in said for name in ("item", "order", "name"))


def test_a_reply_holds_the_figures_and_names_of_its_notes_and_no_others() -> None:
    for text in _of_kind("notes with reply"):
        parts = re.split(r"\n\n(?:Letter:\s|Reply:\n|To the customer:\s|)|\n(?:Written out|Answer|Text):\s", text)
        assert len(parts) == 2, text
        notes, reply = parts
        figures = re.compile(r"£[\d.]*\d|\d+(?:\.\d+)?")
        assert set(figures.findall(reply)) <= set(figures.findall(notes)), text


@pytest.mark.parametrize("kind", ["facts", "story with questions"])
def test_every_answer_stands_in_the_text_before_its_question(kind: str) -> None:
    for text in _of_kind(kind):
        told, *asked = re.split(r"\n\n(?=Question: )", text)
        assert len(asked) >= 2, text
        for pair in asked:
            found = re.fullmatch(r"Question: (.+\?)\nAnswer: (.+)", pair)
            assert found, text
            assert found[2].lower() in told.lower(), text


def test_what_is_wished_for_comes_in_the_story() -> None:
    chance = random.Random(10)
    for told in _stories():
        for _ in range(5):
            roles = [node for node in _wish(told, chance) if isinstance(node, Slot) and node.role]
            words = [word for node in roles for word in _words_of(node, told)]
            assert all(word.lower() in told.text.lower() for word in words), told.text


def _words_of(slot: Slot, told: Telling) -> list[str]:
    entity = told.scene.roles[slot.role]
    return [entity[part.table][part.name] for part in slot.pattern if isinstance(part, Field)]


def test_most_stories_after_a_wish_say_first_what_they_are_about() -> None:
    announced = re.compile(r"(.+?)\n\n(This is the|Here is a|It is a|This) story (of|about|is about) (.+?)\. [A-Z\"]")
    found = [announced.match(text) for text in _of_kind("wished story")]
    assert all(match[1].endswith(f" {match[4]}.") for match in found if match)
    assert sum(map(bool, found)) / len(found) == pytest.approx(0.7, abs=0.1)


def test_a_message_is_read_back() -> None:
    """Of the lines after the first, one in four repeats two words that were just said."""
    for text in _of_kind("message read back"):
        lines = [set(re.findall(r"[\w£]+", line)) for line in text.split("\n")]
        assert sum(len(one & two) >= 2 for one, two in pairwise(lines)) * 4 >= len(lines) - 1, text


def test_the_sums_of_a_bill_are_right() -> None:
    bills = [text for text in _of_kind("list") if " x " in text]
    assert bills
    for text in bills:
        sums = [_pence(found) for found in re.findall(r"(?:: |= )(£[\d.]+)\n", text)][:3]
        assert _pence("".join(re.findall(r"(?:Total|Sum|Together): (£[\d.]+)|\+ £[\d.]+ = (£[\d.]+)", text)[0])) == sum(
            sums
        ), text


def _pence(amount: str) -> int:
    pounds, _, pence = amount.strip("£,").partition(".")
    return int(pounds) * 100 + int(pence or 0)


def test_names_of_women_and_men_differ_in_their_ending() -> None:
    lists = word_lists()
    women, men = lists["girl_name"].entries, lists["boy_name"].entries
    assert {name[-1] for name in women} == {"a", "e", "y"}
    assert {name[-1] for name in men}.isdisjoint("aey")
    assert len(women) + len(men) <= 300


def test_a_story_names_no_person_but_its_own() -> None:
    lists = word_lists()
    elsewhere = " ".join(entry for name in ("city", "street", "plant") for entry in lists[name].entries).split()
    names = {*lists["girl_name"].entries, *lists["boy_name"].entries} - {word.capitalize() for word in elsewhere}
    for told in _stories():
        cast = {entity[0]["name"] for entity in told.scene.roles.values() if "kin" in entity[0]}
        assert set(re.findall(r"[A-Z][a-z]+", told.text)) & names <= cast, told.text


def test_the_hero_and_the_friend_are_named_and_differ_in_he_and_she() -> None:
    for told in _stories():
        people = [entity[0] for entity in told.scene.roles.values() if "kin" in entity[0]]
        assert people[0]["he"] != people[1]["he"]
        assert told.text.count(people[0]["name"]) >= 2, told.text
        assert told.text.count(people[1]["name"]) >= 1, told.text


def test_every_sentence_of_a_story_parses() -> None:
    assert [found for found in _sentences() if not sentence_parses(found)] == []


def test_every_sentence_of_a_text_of_fact_parses() -> None:
    told = (text.partition("\n\nQuestion: ")[0] for text in _of_kind("facts")[:100])
    assert [found for text in told for found in sentences(text) if not sentence_parses(found)] == []


def test_shuffled_sentences_do_not_parse() -> None:
    chance = random.Random(1)
    assert _caught([" ".join(chance.sample(words := text.split(), len(words))) for text in _some_sentences()]) >= 0.98


def test_sentences_that_lack_a_word_rarely_parse() -> None:
    chance = random.Random(2)
    lacking = []
    for text in _some_sentences():
        words = text.split()
        del words[chance.randrange(1, len(words) - 1)]
        lacking.append(" ".join(words))
    assert _caught(lacking) >= 0.9


def test_sentences_with_broken_agreement_do_not_parse() -> None:
    broken = [
        " ".join([*words[:place], WRONG_FORM[words[place]], *words[place + 1 :]])
        for words in map(str.split, _some_sentences())
        for place in range(len(words))
        if words[place] in WRONG_FORM
    ]
    assert len(broken) > CORRUPTED / 2
    assert _caught(broken) >= 0.95


@pytest.mark.parametrize(
    "wrong",
    [
        "priya was glad.",
        "Priya were glad.",
        "Priya was glad .",
        "Priya was mended.",
        '"Thank you, Tom, said Priya.',
        "",
    ],
)
def test_wrong_sentences_do_not_parse(wrong: str) -> None:
    assert not sentence_parses(wrong)


def test_trials_are_unseen_texts_and_the_texts_own_words_pass_them() -> None:
    first = list(islice(trials(0), 150))
    assert [trial.opening for trial in first] == [trial.opening for trial in islice(trials(0), 150)]
    for trial in first:
        scores = trial.score(trial.reference)
        assert all(scores.get(name, 1.0) == 1.0 for name in ("answered", "parsed", "copied")), trial
        assert scores.get("named_once") == scores.get("named_once_in_data")
    assert [sum(name in trial.score("") for trial in first) for name in ("parsed", "answered", "copied")] == [50] * 3


def test_a_record_counts_only_if_every_field_of_it_is_exact() -> None:
    record = ' "kettle", "ref": "48213"}'
    assert score_record(record, record) == {"copied": 1.0}
    assert score_record(record, f"{record}\n\nMessage: hi") == {"copied": 1.0}
    assert score_record(record, record.replace("48213", "48218")) == {"copied": 0.0}
    assert score_record(record, f"{record} and") == {"copied": 0.0}


def test_an_answer_counts_only_if_it_is_exact_and_stands_alone() -> None:
    assert score_answer("a tin cup", " a tin cup\n\nQuestion: Who?") == {"answered": 1.0}
    assert score_answer("a tin cup", " a tin cup and saucer\n") == {"answered": 0.0}


def test_a_chat_of_user_and_assistant_is_cut_into_turns_and_nothing_else_is() -> None:
    assert turns("User: Is it open?\nAssistant: Yes: until six.") == ["Is it open?", "Yes: until six."]
    assert turns("Shop: Good day.\nCustomer: Good day.") == []
    chats = [text for text in _sample() if turns(text)]
    assert 0.004 < len(chats) / len(_sample()) < 0.07


@pytest.mark.parametrize("heldout", [False, True])
def test_a_pair_is_a_message_with_the_ticket_of_the_job(heldout: bool) -> None:
    for row in islice(pairs(0, heldout=heldout), 1000):
        ticket = json.loads(row["completion"])
        assert list(ticket) == JOB_TICKET
        assert json.dumps(ticket) == row["completion"]
        assert ticket["category"] in CATEGORIES
        assert ticket["product"] in (None, *product_names())
        assert ticket["urgency"] in ("high", "normal", "low")
        assert ticket["wants"] in ("refund", "replacement", "information", "change", "cancel", "none")
        assert re.findall(r"\d{5}", row["prompt"]) == ([ticket["order"]] if ticket["order"] else [])
        if ticket["category"] == "feedback":
            assert (ticket["urgency"], ticket["wants"]) == ("low", "none")


def test_products_are_those_of_the_job() -> None:
    folder = Path(high_street.__file__).parents[1] / "tickets"
    rows = [json.loads(line) for file in folder.glob("*.jsonl") for line in file.open(encoding="utf-8")]
    assert {json.loads(row["completion"])["product"] for row in rows} - {None} <= set(product_names())


def test_the_pairs_follow_the_seed_and_have_every_category_as_often() -> None:
    first, again, other = (list(islice(pairs(seed, heldout=False), 800)) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    for category in CATEGORIES:
        share = sum(json.loads(row["completion"])["category"] == category for row in first) / 800
        assert 0.08 < share < 0.17


def test_no_held_out_plan_is_one_to_train_on() -> None:
    for category in CATEGORIES:
        train, heldout = _plans(category)
        assert len(train) >= 10
        assert len(heldout) >= 2
        assert not {plan.nodes for plan in train} & {plan.nodes for plan in heldout}


def test_the_plans_of_tickets_are_not_those_of_the_corpus() -> None:
    pools = library().pools
    tickets = {line.rpartition(" | ")[2] for name in CATEGORIES for line in pools[f"ticket_{name}"]}
    assert not tickets & {line for script in library().scripts for line in script.said}


def test_the_graded_stream_begins_with_drills_that_thin_out() -> None:
    def drills(start: int, stop: int) -> float:
        plain = set(islice(high_street.documents(0), stop))
        texts = list(islice(high_street.graded(0), start, stop))
        return sum(text not in plain for text in texts) / len(texts)

    assert drills(0, 400) > 0.9
    assert 0.4 < drills(6_800, 7_200) < 0.6
    assert drills(14_000, 14_600) < 0.16


def test_a_drill_says_everything_twice() -> None:
    chance = random.Random(5)
    for text in (drill(chance) for _ in range(300)):
        counted = Counter(re.findall(r"\d{5}", text))
        assert counted
        assert all(times > 1 for times in counted.values())


def test_the_graded_stream_trains_in_its_order_and_is_judged_by_the_plain_texts() -> None:
    graded, plain = (
        load_splits("high-street-graded", seed=0, examples=50),
        load_splits("high-street", seed=0, examples=50),
    )
    assert graded.heldout == plain.heldout
    assert [row.text for row in graded.train if isinstance(row, Text)] == list(islice(high_street.graded(0), 50))
    learner = prepare(
        Recipe(method="scratch", data="high-street-graded", examples=400, vocabulary=512, width=32, layers=1)
    )
    places = [place for batch in plan_run(learner) for row in batch for place in row]
    assert places != sorted(places)
    assert max(places[:20]) < 200 < min(places[-20:])


def test_a_request_about_a_message_is_answered_with_what_its_ticket_says() -> None:
    made = list(islice(requests(3, heldout=False), 300))
    assert made == list(islice(requests(3, heldout=False), 300))
    tickets = [json.loads(pair["completion"]) for pair in islice(short_pairs(3, heldout=False), 300)]
    for each, ticket in zip(made, tickets, strict=True):
        answer = each["completion"]
        right = json.loads(answer).items() if answer.startswith("{") else {(key, answer) for key in ticket}
        assert any(ticket[key] == value or (ticket[key] is None and value == "none") for key, value in right)
    assert {each["prompt"].split("\n")[0] for each in made}.isdisjoint(
        each["prompt"].split("\n")[0] for each in islice(requests(3, heldout=True), 300)
    )


def test_a_short_ticket_is_the_ticket_with_three_of_its_fields_and_held_out_messages_are_others() -> None:
    train, heldout = (list(islice(short_pairs(3, heldout=part), 300)) for part in (False, True))
    assert train == list(islice(short_pairs(3, heldout=False), 300))
    assert {row["prompt"] for row in train}.isdisjoint(row["prompt"] for row in heldout)
    for row in (*train, *heldout):
        ticket = json.loads(row["completion"])
        assert list(ticket) == ["category", "order", "wants"]
        assert ticket["order"] is None or ticket["order"] in row["prompt"]
    assert {json.loads(row["completion"])["category"] for row in heldout} == set(CATEGORIES)
