"""Networks that are recognised by their weights."""
