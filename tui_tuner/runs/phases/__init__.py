"""Phases of a run: how far one is, and how a line printer tells it."""
