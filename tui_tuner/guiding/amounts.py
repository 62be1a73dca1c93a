"""How many examples a task needs, by published rules, and what to say of the number there is.

Each number has its source. They are what others found usual, not what these rows will do: only held-out rows
tell that, after the run.
"""

from __future__ import annotations

from dataclasses import dataclass

from tui_tuner.config.kinds import TASKS
from tui_tuner.locales import N_, _

ROWS, OF_CLASS, OF_TAG, TOKENS = "rows", "of_class", "of_tag", "tokens"
CHARACTERS_A_TOKEN = 4  # of English text (OpenAI's rule of thumb); other writing has fewer


@dataclass(frozen=True)
class Need:
    """How many are needed.

    Args:
        unit: What is counted: `rows`, rows `of_class`, marked places `of_tag`, or `tokens`.
        begins: From here on something begins to show; below, a run is hardly worth its time.
        clear: From here on the effect is usually clear.
        good: So many are a good data set.
        source: Who says so; `short`: their names alone.
    """

    unit: str
    begins: int
    clear: int
    good: int
    source: str
    short: str


NEEDS: dict[str, Need] = {
    "sft": Need(
        ROWS,
        10,
        50,
        1_000,
        N_(
            "OpenAI asks for at least 10 examples and sees clear improvements with 50 to 100; 1,000 chosen "
            "with care made a good assistant (LIMA, arXiv 2305.11206)"
        ),
        N_("OpenAI, LIMA"),
    ),
    "classification": Need(
        OF_CLASS,
        10,
        50,
        1_000,
        N_(
            "Google's AutoML asks for at least 10 texts of each class, advises to begin with 50, and expects "
            "hundreds to 1,000 for high accuracy"
        ),
        N_("Google AutoML"),
    ),
    "token_classification": Need(
        OF_TAG,
        25,
        50,
        200,
        N_(
            "Amazon Comprehend asks for at least 25 places of each kind, Microsoft advises 50; 200 is what "
            "this program takes for good"
        ),
        N_("Amazon, Microsoft"),
    ),
    "question_answering": Need(
        ROWS,
        16,
        128,
        1_000,
        N_(
            "studies of few examples measure from 16 to 1,024 questions; models that have never seen "
            "questions need several hundred (Splinter, arXiv 2101.00438)"
        ),
        N_("Splinter, arXiv 2101.00438"),
    ),
    "pretraining": Need(
        TOKENS,
        10_000,
        100_000,
        1_000_000,
        N_(
            "no published rule: going on with some hundred documents already helped on their own task "
            "(arXiv 2004.10964); from random weights, 20 tokens for each parameter (arXiv 2203.15556)"
        ),
        N_("no published rule"),
    ),
}


def need_of(task: str) -> Need:
    """How many a task needs; one without a rule of its own gets that of the tasks that are like it."""
    if task in NEEDS:
        return NEEDS[task]
    kind = TASKS.get(task)
    if kind is None:
        return NEEDS["sft"]
    if kind.plain_text:
        return NEEDS["pretraining"]
    alike = {"text": "classification", "token": "token_classification", "span": "question_answering"}
    return NEEDS[alike.get(kind.decides, "sft")]


def say_numbers(task: str) -> str:
    """How many examples a task needs, in a sentence."""
    need = need_of(task)
    said = {"begins": need.begins, "clear": need.clear, "good": need.good, "who": _(need.short)}
    if need.unit == OF_CLASS:
        return _(
            "From {begins:,} texts of each class on something begins to show, from {clear:,} on it is clear, "
            "and {good:,} of each are good ({who}).",
            **said,
        )
    if need.unit == OF_TAG:
        return _(
            "From {begins:,} marked places of each kind on something begins to show, from {clear:,} on it is "
            "clear, and {good:,} are good ({who}).",
            **said,
        )
    if need.unit == TOKENS:
        return _(
            "From {begins:,} tokens on something begins to show, from {clear:,} on it is clear, and "
            "{good:,} and more are good ({who}).",
            **said,
        )
    return _(
        "From {begins:,} examples on something begins to show, from {clear:,} on it is clear, and about "
        "{good:,} are good ({who}).",
        **said,
    )


def say_need(task: str) -> str:
    """How many examples a task needs, and who says so."""
    return _("{numbers} Source: {source}.", numbers=say_numbers(task), source=_(need_of(task).source))


def size_word(need: Need, count: int) -> str:
    """`too_few`, `few`, `some` or `good`: what so many are by a rule."""
    if count < need.begins:
        return "too_few"
    if count < need.clear:
        return "few"
    return "some" if count < need.good else "good"
