"""Chat templates by name, written by this package: `write_template.write_template` makes the Jinja for a
tokenizer.
"""
