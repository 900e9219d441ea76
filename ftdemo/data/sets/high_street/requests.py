"""Requests about a customer's message, and the answers: to teach a model to answer as asked, and to stop.

Each stream is endless and the same for the same seed. The messages are those of short tickets.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

from ftdemo.data.sets.high_street.tickets import short_pairs

_ASKED = {"order": "What is the order number?", "wants": "What does the customer want?"}
_AS_JSON = "Write the order number as JSON."
_JSON_SHARE = 0.25
_NOTHING = "none"


def requests(seed: int, *, heldout: bool) -> Iterator[dict[str, Any]]:
    """A message and a request in the line below it as ``prompt``, and exactly what was asked for as ``completion``."""
    chance = random.Random(2 * seed + heldout)
    for pair in short_pairs(seed, heldout=heldout):
        ticket = json.loads(pair["completion"])
        if chance.random() < _JSON_SHARE:
            asked, answer = _AS_JSON, json.dumps({"order": ticket["order"]})
        else:
            key = chance.choice(list(_ASKED))
            asked, answer = _ASKED[key], ticket[key] or _NOTHING
        yield {"prompt": f"{pair['prompt']}\n{asked}", "completion": answer}
