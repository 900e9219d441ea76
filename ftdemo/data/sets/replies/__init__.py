"""replies: an agent's notes, each with the reply to the customer in the format and tone of an invented shop."""

from __future__ import annotations

PARTS = ("Summary:", "Next step:", "When:")
"""The labels of the three lines of a reply."""
BANNED = (
    *("inconvenience", "please be advised", "kindly", "as per", "do not hesitate", "valued customer", "rest assured"),
    *("unfortunately", "at your earliest convenience", "regards", "dear"),
)
"""Phrases that the house style bans, in any case."""
