"""shop-mail: short messages to an invented harbour shop, sorted by what the customer wants."""
