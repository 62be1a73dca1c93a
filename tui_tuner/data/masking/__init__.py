"""Masked language modelling: blocks of text, the words in them, and which of their tokens are hidden."""
