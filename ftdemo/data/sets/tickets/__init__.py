"""tickets: customers' messages to an invented shop, each with the ticket that it becomes."""

from __future__ import annotations

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
