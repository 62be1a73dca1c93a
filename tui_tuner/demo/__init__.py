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
    """Yield training rows of the advertising task: prompt, response (`data.path: demo`)."""
    from tui_tuner.demo.advertising import make_advertising_rows

    yield from make_advertising_rows()


def held_out_rows() -> Iterator[dict[str, str]]:
    """Yield held-out rows of the same task, with values that no training row names (`demo-held-out`)."""
    from tui_tuner.demo.advertising import make_held_out_adverts as made

    yield from made()


def corpus_rows() -> Iterator[dict[str, str]]:
    """Yield pretraining text: rows with the column text (`data.path: demo-corpus`)."""
    from tui_tuner.demo.corpus import make_demo_documents

    yield from make_demo_documents()


def review_rows() -> Iterator[dict[str, str]]:
    """Yield film reviews: rows with the columns text and label (`demo-reviews`)."""
    from tui_tuner.demo.reviews import make_review_rows as made

    yield from made()


def tag_rows() -> Iterator[dict[str, list[str]]]:
    """Yield sentences with a tag for each word: rows with tokens and ner_tags (`demo-tags`)."""
    from tui_tuner.demo.tagged_sentences import make_tag_rows as made

    yield from made()


def question_rows() -> Iterator[dict[str, Any]]:
    """Yield questions about texts: rows with question, context and answers (`demo-questions`)."""
    from tui_tuner.demo.questions import make_question_rows as made

    yield from made()


def text_rows() -> Iterator[dict[str, str]]:
    """Yield short plain texts: those that the questions are about, and the reviews (`demo-texts`)."""
    for text in dict.fromkeys(
        [row["context"] for row in question_rows()] + [row["text"] for row in review_rows()]
    ):
        yield {"text": text}


def laboratory_rows() -> Iterator[dict[str, str]]:
    """Yield notes in the words of a trade: rows with the column text (`demo-laboratory`)."""
    from tui_tuner.demo.laboratory import make_laboratory_notes as made

    yield from made()


def summary_rows() -> Iterator[dict[str, str]]:
    """Yield notices with a summary of one line: rows with document and summary (`demo-summaries`)."""
    from tui_tuner.demo.summaries import make_summary_rows as made

    yield from made()
