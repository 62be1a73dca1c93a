"""Predicts the rows of a file with a model: in order, and resumable."""
