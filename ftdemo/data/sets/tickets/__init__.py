"""tickets: customers' messages to an invented shop, each with the ticket that it becomes."""

from __future__ import annotations

from collections.abc import Sequence

CATEGORIES = ("delivery", "damaged", "wrong_item", "return", "payment", "product", "account", "feedback")
URGENCIES = ("low", "normal", "high")
WANTS = ("refund", "replacement", "information", "change", "cancel", "none")
FIELDS = ("category", "product", "order", "urgency", "wants")
"""The keys of a ticket, in their order."""
PRODUCTS = (
    *("kettle", "toaster", "coffee maker", "coffee grinder", "blender", "air fryer", "kitchen scale", "frying pan"),
    *("saucepan set", "baking tray", "knife block", "cutting board", "mixing bowls", "storage jars"),
    *("water filter jug", "dish rack", "kitchen bin", "desk lamp", "floor lamp", "fairy lights", "wall clock"),
    *("mirror", "picture frame", "rug", "curtains", "blackout blind", "cushion", "throw blanket", "bookshelf"),
    *("bedside table", "folding chair", "coat rack", "shoe rack", "duvet", "duvet cover", "pillow"),
    *("mattress topper", "bath towels", "bath mat", "shower curtain", "laundry basket", "clothes airer"),
    *("ironing board", "steam iron", "vacuum cleaner", "mop", "fan heater", "humidifier", "extension lead"),
    "plant pot",
)
"""The names of the shop's products on a ticket; customers have others for them."""
_VALUES = {
    "category": f"{', '.join(CATEGORIES[:-1])} or {CATEGORIES[-1]}",
    "product": "one of the names below, or null if none is named",
    "order": "the five digits of the order number as a string, or null",
    "urgency": f"{', '.join(URGENCIES[:-1])} or {URGENCIES[-1]}",
    "wants": f"{', '.join(WANTS[:-1])} or {WANTS[-1]}",
}
"""What each key of a ticket may hold."""


def instruct(fields: Sequence[str]) -> str:
    """What a model that was not tuned has to be told to write tickets with these keys."""
    keys = ", ".join(f'"{field}" ({_VALUES[field]})' for field in fields)
    return (
        "Turn the customer's message into a support ticket. Answer with one JSON object and nothing else. "
        f"Its keys are: {keys}."
    )


INSTRUCTION = f"{instruct(FIELDS)} Products: {', '.join(PRODUCTS)}."
"""What a model that was not tuned has to be told to write whole tickets."""
