"""The forms in which a text may name an entity: patterns over the fields of its kind's records. `a~` is `a` or `an`."""

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
