"""How many examples a task needs, by published rules of thumb.

Each number has its source. The rules describe what is usual; what these rows will do is known only after the
run, from held-out rows.
"""

from __future__ import annotations

from dataclasses import dataclass

from tui_tuner.config.kinds.tasks import TASKS
from tui_tuner.locales import N_, _

ROWS, OF_CLASS, OF_TAG, TOKENS = "rows", "of_class", "of_tag", "tokens"
CHARACTERS_A_TOKEN = 4  # of English text (OpenAI's rule of thumb); other scripts have fewer


@dataclass(frozen=True)
class Need:
    """A rule for the number of examples that a task needs.

    Args:
        unit: What is counted: `rows`, rows `of_class`, marked places `of_tag`, or `tokens`.
        begins: From here on an effect begins to show; below, a run is hardly worth its time.
        clear: From here on the effect is usually clear.
        good: So many are a good data set.
        source: Where the rule was published; `short`: only the names.
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
            "Google's AutoML asks for at least 10 texts of each class, advises starting with 50, and expects "
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
            "Amazon Comprehend asks for at least 25 marks of each kind, Microsoft advises 50; 200 is what "
            "this program considers good"
        ),
        N_("Amazon, Microsoft"),
    ),
    "question_answering": Need(
        ROWS,
        16,
        128,
        1_000,
        N_(
            "few-shot studies measure 16 to 1,024 questions; models that have never seen "
            "questions need several hundred (Splinter, arXiv 2101.00438)"
        ),
        N_("Splinter, arXiv 2101.00438"),
    ),
    "seq2seq": Need(
        ROWS,
        100,
        1_000,
        10_000,
        N_(
            "Pegasus summarised well after 1,000 examples, and passably after 100 (arXiv 1912.08777); common "
            "collections of summaries and translations have tens of thousands"
        ),
        N_("Pegasus, arXiv 1912.08777"),
    ),
    "masked_lm": Need(
        TOKENS,
        10_000,
        100_000,
        1_000_000,
        N_(
            "no published rule: continued pretraining on some hundred documents already helped on their task "
            "(arXiv 2004.10964)"
        ),
        N_("no published rule"),
    ),
    "pretraining": Need(
        TOKENS,
        10_000,
        100_000,
        1_000_000,
        N_(
            "no published rule: continued pretraining on some hundred documents already helped on their task "
            "(arXiv 2004.10964); from random weights, 20 tokens for each parameter (arXiv 2203.15556)"
        ),
        N_("no published rule"),
    ),
}


def find_example_need(task: str) -> Need:
    """Return the rule for a task; one without its own gets the rule of similar tasks."""
    if task in NEEDS:
        return NEEDS[task]
    kind = TASKS.get(task)
    if kind is None:
        return NEEDS["sft"]
    if kind.plain_text:
        return NEEDS["pretraining"]
    # By what a task decides about: a head for texts needs examples of each class, whatever its name
    alike = {"text": "classification", "token": "token_classification", "span": "question_answering"}
    return NEEDS[alike.get(kind.decides, "sft")]


def describe_example_numbers(task: str) -> str:
    """State in a sentence how many examples a task needs, and by whose rule."""
    need = find_example_need(task)
    said = {"begins": need.begins, "clear": need.clear, "good": need.good, "who": _(need.short)}
    if need.unit == OF_CLASS:
        return _(
            "From {begins:,} texts of each class on, an effect begins to show; from {clear:,} on, it is "
            "clear; "
            "and {good:,} of each are good ({who}).",
            **said,
        )
    if need.unit == OF_TAG:
        return _(
            "From {begins:,} marks of each kind on, an effect begins to show; from {clear:,} on, it is "
            "clear; and {good:,} are good ({who}).",
            **said,
        )
    if need.unit == TOKENS:
        return _(
            "From {begins:,} tokens on, an effect begins to show; from {clear:,} on, it is clear; and "
            "{good:,} or more are good ({who}).",
            **said,
        )
    return _(
        "From {begins:,} examples on, an effect begins to show; from {clear:,} on, it is clear; and about "
        "{good:,} are good ({who}).",
        **said,
    )


def describe_example_need(task: str) -> str:
    """State how many examples a task needs, with the source in full."""
    return _(
        "{numbers} Source: {source}.",
        numbers=describe_example_numbers(task),
        source=_(find_example_need(task).source),
    )


def judge_example_count(need: Need, count: int) -> str:
    """Return `too_few`, `few`, `some` or `good` for a count, by a rule."""
    if count < need.begins:
        return "too_few"
    if count < need.clear:
        return "few"
    return "some" if count < need.good else "good"
