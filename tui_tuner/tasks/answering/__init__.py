"""Answers inside a text: training, judging, showing and finding them."""
