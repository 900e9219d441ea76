"""high-street: an endless stream of short texts about shops and their customers, to pre-train small models on."""

from ftdemo.data.sets.high_street.documents import documents, graded, turns
from ftdemo.data.sets.high_street.lists import lists
from ftdemo.data.sets.high_street.requests import requests
from ftdemo.data.sets.high_street.scripts import sentence_parses
from ftdemo.data.sets.high_street.tickets import SHORT_FIELDS, SHORT_INSTRUCTION, pairs, short_pairs
from ftdemo.data.sets.high_street.trials import trials

__all__ = [
    "SHORT_FIELDS",
    "SHORT_INSTRUCTION",
    "documents",
    "graded",
    "lists",
    "pairs",
    "requests",
    "sentence_parses",
    "short_pairs",
    "trials",
    "turns",
]
