"""Prompts for labelling. They address models, so they are in English in every language of the interface."""

from __future__ import annotations

CARP = "carp"

# Clues, then reasoning, then the label (Sun et al. 2023, arXiv 2305.08377), in our own words
CARP_PROMPT = """\
Your task is to give the text below one label. The labels are: {labels}.

Work in three steps, and write each of them down.
1. Clues: note the words, phrases, tone, references and contrasts in the text that bear on the label.
2. Reasoning: explain in one to three sentences which label these clues speak for, all taken together.
3. Label: name that label, spelt as in the list, and nothing else.

Use exactly this form:
CLUES: ...
REASONING: ...
LABEL: ...

Text:
{text}"""

LABEL_PROMPT = """\
Give the text below one of these labels: {labels}.
Answer with the label alone, spelt as in the list.

Text:
{text}"""
