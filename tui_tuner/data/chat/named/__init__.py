"""Chat templates by name, in this package's own words: `written.write` gives the Jinja for a tokenizer."""
