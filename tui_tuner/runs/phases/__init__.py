"""Phases of a run: their progress, and how it is printed."""
