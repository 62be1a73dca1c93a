"""Chat templates by name, written by this package: `written.write` makes the Jinja for a tokenizer."""
