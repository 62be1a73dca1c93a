"""The tasks that a run may ask for: names, help and facts. Forms and validation need no training library.

A task is one entry here and the module of the same name in `tasks`; nothing else names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tui_tuner.config.kinds.kind import Kind
from tui_tuner.locales import N_


@dataclass(frozen=True)
class TaskKind(Kind):
    """A task, with what planning has to know of it.

    Args:
        plain_text: It learns whole documents: many passes over them are usual, and a model may begin with
            random weights, at the rates for that.
        preference: It learns from comparisons, at rates much lower than those of other tasks.
        writes: Its model writes text: prompts are answered, and what is generated is scored.
        best: The metric that decides which checkpoint is best, where the config leaves that open and the
            rows do not say more (`Task.settle_fields`).
        decides: What a new head decides about, in place of the one that writes: a `text`, each `token`, or a
            `span` (two numbers for each token). Empty where there is none.
        question: Its model reads a question beside the text.
        rows: What its rows are, in a few words.
        reads: Fields that it reads and not every task does, beside those of tasks that write
            (`config.applying`).
        without: Methods that cannot train it, each with the reason: a sentence without its full stop.
        demo: What `data.path: demo` means for it: rows of its own inside this package.
        tiny: What `model.name: tiny` means for it: a small model with random weights (`config.tiny`);
            empty where there is none.
        goal: What the guide calls it: words of its own, or the name of one of the goals there
            (`guiding.goals`) that it does as well. Empty takes the label.
        example: A row and what is learnt from it, for the guide; empty takes `rows`.
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
        """Return whether a method can train it."""
        return method not in self.without


# Fields that only tasks read whose models write text: prompts are answered, what is written is scored
WRITING = (
    "training.loss",
    "evaluation.prompts",
    "evaluation.metrics",
    "evaluation.metric_rows",
    "evaluation.max_new_tokens",
)
# Fields that are about chats: what is rendered, which turns are learnt, and cleaning by answers
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
            N_("Teach answers: prompts are masked, answers are trained."),
            rows=N_("prompts with answers"),
            reads=CHATS,
        ),
        TaskKind(
            "pretraining",
            N_("Pretraining"),
            N_("Learn plain text, every token, from scratch or continued."),
            rows=N_("plain text"),
            plain_text=True,
        ),
        TaskKind(
            "classification",
            N_("Classification"),
            N_("Learn the class of a text or of a pair of texts, several classes, or a number."),
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
            N_("Learn a tag for each word: names, places, parts of speech."),
            rows=N_("words with a tag for each"),
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
            N_("Learn to find the answer to a question inside a text."),
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

TINY = "tiny"  # a model's name that stands for the architecture of the task: `TaskKind.tiny`
TINY_NAMES = ("tiny-bert", "tiny-distilbert")  # small models with random weights, made where they are needed


def is_tiny(name: object) -> bool:
    """Return whether a model's name means one of the small ones with random weights."""
    return name == TINY or name in TINY_NAMES
