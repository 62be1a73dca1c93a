"""The embedded model and data of `tui-tuner demo`, and the code that made them.

`model/` holds a small Llama-type model that `presets/demo-pretraining.yaml` trains from `corpus_rows`.
Pure Python: nothing here needs a training library.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

MODEL_DIR = Path(__file__).parent / "model"


def rows() -> Iterator[dict[str, str]]:
    """Training rows of the advertising task: prompt, response (`data.path: demo`)."""
    from tui_tuner.demo.advertising import training_rows

    yield from training_rows()


def held_out_rows() -> Iterator[dict[str, str]]:
    """Held-out rows of the same task, with values that no training row names (`demo-held-out`)."""
    from tui_tuner.demo.advertising import held_out_rows as made

    yield from made()


def corpus_rows() -> Iterator[dict[str, str]]:
    """Pretraining text: rows with the column text (`data.path: demo-corpus`)."""
    from tui_tuner.demo.corpus import documents

    yield from documents()


def review_rows() -> Iterator[dict[str, str]]:
    """Film reviews: rows with the columns text and label (`demo-reviews`)."""
    from tui_tuner.demo.reviews import review_rows as made

    yield from made()


def tag_rows() -> Iterator[dict[str, list[str]]]:
    """Sentences with a tag for each word: rows with the columns tokens and ner_tags (`demo-tags`)."""
    from tui_tuner.demo.tags import tag_rows as made

    yield from made()


def question_rows() -> Iterator[dict[str, Any]]:
    """Questions about texts: rows with the columns question, context and answers (`demo-questions`)."""
    from tui_tuner.demo.questions import question_rows as made

    yield from made()
