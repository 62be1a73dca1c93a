"""Answers inside a text: how they are learnt, judged, shown and asked for."""
