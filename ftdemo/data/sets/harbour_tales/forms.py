"""The forms in which a text may name an entity: patterns over the fields of its kind's records. `a~` is `a` or `an`."""

NOUN_FORMS = {
    "": "<noun>",
    "s": "<nouns>",
    "adj": "<adj>",
    "own": "<adj> <noun>",
    "a": "a~ <adj> <noun>",
    "an": "a~ <noun>",
    "the": "the <noun>",
    "full": "the <adj> <noun>",
    "many": "<adj> <nouns>",
}
VERB_FORMS = {"": "<past>", "past": "<past>", "base": "<base>", "ing": "<ing>", "third": "<third>"}
PERSON_FORMS = {
    "": "<name>",
    "s": "<name>'s",
    "he": "<he>",
    "him": "<him>",
    "his": "<his>",
    "himself": "<himself>",
    "man": "<man>",
    "child": "<child>",
    "kin": "<kin>",
    "trade": "<trade>",
    "nature": "<nature>",
    "the": "the <trade>",
    "an": "a~ <trade>",
    "a": "a~ <nature> <trade>",
    "called": "<name> <surname>",
    "mister": "<mister> <surname>",
    "surname": "<surname>",
}
DEED_FORMS = {
    "": "<past> the <noun>",
    "past": "<past> a~ <any> <noun>",
    "base": "<base> the <noun>",
    "ing": "<ing> a~ <any> <noun>",
    "doing": "<ing> the <noun>",
    "verb": "<base>",
    "verbing": "<ing>",
    "third": "<third> <nouns>",
    "the": "the <noun>",
    "an": "a~ <noun>",
    "a": "a~ <any> <noun>",
    "noun": "<noun>",
}
PLACE_FORMS = {"": "<place>", "in": "<prep> <place>", "to": "to <place>", "from": "from <place>", "prep": "<prep>"}
BOAT_FORMS = {
    "": "the <quality> <boat>",
    "name": "<quality> <boat>",
    "a": "a~ <look> <type>",
    "the": "the <type>",
    "type": "<type>",
    "type_an": "a~ <type>",
    "look": "<look>",
}
