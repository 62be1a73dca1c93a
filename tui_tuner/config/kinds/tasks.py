"""The tasks that a run can train: names, texts and facts, readable without a training library.

A task is one entry here and one module of the same name in `tasks`; no other code names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tui_tuner.config.kinds.kind import Kind
from tui_tuner.locales import N_


@dataclass(frozen=True)
class TaskKind(Kind):
    """A task, with everything that planning needs to know about it.

    Args:
        plain_text: It learns whole documents: many passes over them are usual, and a model may start from
            random weights, at the learning rates for that.
        preference: It learns from comparisons, at learning rates much lower than those of other tasks.
        writes: Its model writes text: prompts are answered, and generated answers are scored.
        best: The metric that decides which checkpoint is best if the config leaves it open and the rows
            decide nothing (`Task.settle_fields`).
        decides: Unit that a new head, which replaces the language-model head, decides about: a `text`, each
            `token`, or a `span` (two numbers per token). Empty if there is no such head.
        question: Its model reads a question in addition to the text.
        rows: Its rows in a few words.
        reads: Fields that it reads but not every task does, besides those of tasks that write
            (`config.applying`).
        without: Methods that cannot train it, each with the reason: a sentence without its full stop.
        demo: The rows inside this package that `data.path: demo` means for this task.
        tiny: The small model with random weights that `model.name: tiny` means for this task
            (`config.tiny`); empty if there is none.
        goal: Its name in the guide: a text, or the name of a goal (`guiding.goals`) that it also serves.
            Empty means the label.
        example: A row and what the model learns from it, for the guide; empty means `rows`.
    """

    plain_text: bool = False
    preference: bool = False
    writes: bool = True
    best: str = "loss"
    decides: str = ""
    question: bool = False
    rows: str = ""
    reads: tuple[str, ...] = ()
    without: Mapping[str, str] = field(default_factory=dict, hash=False)
    demo: str = "demo"
    tiny: str = ""
    goal: str = ""
    example: str = ""

    def takes_method(self, method: str) -> bool:
        return method not in self.without


# Fields read only by tasks whose models write text: they answer prompts, and the answers are scored
WRITING = (
    "training.loss",
    "evaluation.prompts",
    "evaluation.metrics",
    "evaluation.metric_rows",
    "evaluation.max_new_tokens",
)
# Fields about chats: how they are rendered, which turns are trained, and cleaning by answers
CHATS = (
    "model.chat_template",
    "data.system",
    "data.train_on",
    "data.system_turns",
    "data.media",
    "data.cleaning.refusals",
    "data.cleaning.min_answer",
    "data.cleaning.phrases",
)

TASKS: dict[str, TaskKind] = {
    kind.name: kind
    for kind in (
        TaskKind(
            "sft",
            N_("Supervised fine-tuning"),
            N_("Teach answers: the loss counts answers only; prompts are masked."),
            rows=N_("prompts with answers"),
            reads=CHATS,
        ),
        TaskKind(
            "pretraining",
            N_("Pretraining"),
            N_("Learn plain text, every token of it; from scratch or from a pretrained model."),
            rows=N_("plain text"),
            plain_text=True,
        ),
        TaskKind(
            "classification",
            N_("Classification"),
            N_("Predict one class, several classes or a number for a text or a pair of texts."),
            rows=N_("texts with a class"),
            writes=False,
            best="accuracy",
            decides="text",
            reads=(
                "data.problem",
                "data.label_separator",
                "data.media",
                "training.class_weights",
                "evaluation.prompts",
            ),
            demo="demo-reviews",
            tiny="tiny-distilbert",
        ),
        TaskKind(
            "token_classification",
            N_("Token classification"),
            N_("Predict a tag for each word: names, places, parts of speech."),
            rows=N_("words with one tag each"),
            writes=False,
            best="f1",
            decides="token",
            reads=("data.stride", "data.names", "training.class_weights", "evaluation.prompts"),
            demo="demo-tags",
            tiny="tiny-bert",
        ),
        TaskKind(
            "question_answering",
            N_("Question answering"),
            N_("Find the answer to a question inside a text."),
            rows=N_("questions with answers inside a text"),
            writes=False,
            best="f1",
            decides="span",
            question=True,
            reads=("data.stride", "data.media", "evaluation.null_threshold"),
            demo="demo-questions",
            tiny="tiny-bert",
        ),
    )
}

TINY = "tiny"  # a model name that means the architecture of the task: `TaskKind.tiny`
TINY_NAMES = ("tiny-bert", "tiny-distilbert")  # small models with random weights, generated when needed


def is_tiny(name: object) -> bool:
    """Return whether a model name means one of the small models with random weights."""
    return name == TINY or name in TINY_NAMES
