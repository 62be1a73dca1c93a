"""Counts of rows, and the rules that turn them into concerns."""
