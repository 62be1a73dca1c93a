"""The training tasks: names, help and facts. Forms and validation import no training library.

A task is one entry here and the module of the same name in `tasks`; no other code names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tui_tuner.config.kinds.kind import Kind
from tui_tuner.locales import N_


@dataclass(frozen=True)
class TaskKind(Kind):
    """A task, with the facts that planning needs.

    Args:
        plain_text: Whether it learns whole documents: many passes over them are usual, and a model may start
            from random weights, at learning rates that suit them.
        preference: Whether it learns from comparisons, at learning rates far below those of other tasks.
        writes: Whether its model generates text: it answers prompts, and its answers are scored.
        best: The metric that decides which checkpoint is best if the config leaves it at `auto` and the rows
            do not decide it (`Task.settle_fields`).
        decides: The unit that a new head classifies, in place of the language-model head: a `text`, each
            `token`, or a `span` (two numbers for each token). Empty for tasks without a new head.
        hides: Whether its model guesses hidden tokens, for which it needs a mask token and a head.
        question: Whether its model reads a question together with the text.
        encoder_decoder: Whether its model reads a source with an encoder and writes a target with a decoder,
            each with a limit of its own.
        rows: Its rows in a few words.
        reads: Fields that this task reads but not every task does, in addition to those of tasks that write
            (`config.applying`).
        ignores: Fields that every other task reads but this one does not.
        without: Methods that cannot train it, each with the reason: a sentence without its full stop.
        demo: The rows inside this package that `data.path: demo` stands for.
        tiny: The small model that `model.name: tiny` stands for, with random weights (`config.tiny`) or
            `demo`; empty if there is none.
        goal: Its name in the guide: words of its own, or the name of a goal there (`guiding.goals`) that it
            also serves. Empty uses the label.
        example: A row and what the model learns from it, for the guide; empty uses `rows`.
    """

    plain_text: bool = False
    preference: bool = False
    writes: bool = True
    best: str = "loss"
    decides: str = ""
    hides: bool = False
    question: bool = False
    encoder_decoder: bool = False
    rows: str = ""
    reads: tuple[str, ...] = ()
    ignores: tuple[str, ...] = ()
    without: Mapping[str, str] = field(default_factory=dict, hash=False)
    demo: str = "demo"
    tiny: str = ""
    goal: str = ""
    example: str = ""

    @property
    def talks(self) -> bool:
        """Return whether one can chat with its model; of an encoder and a decoder, each text stands alone."""
        return self.writes and not self.encoder_decoder

    def takes_method(self, method: str) -> bool:
        return method not in self.without


# Fields read only by tasks whose models generate text: prompts are answered and the answers scored
WRITING = (
    "training.loss",
    "evaluation.prompts",
    "evaluation.metrics",
    "evaluation.metric_rows",
    "evaluation.max_new_tokens",
)
# Read by tasks whose loss is a sum over positions, so that the losses of a row can count more or less
WEIGHTED = ("data.loss_weight",)
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
            N_("Teach answers: prompts are masked, answers are trained."),
            rows=N_("prompts with answers"),
            reads=(*CHATS, *WEIGHTED),
        ),
        TaskKind(
            "pretraining",
            N_("Pretraining"),
            N_("Learn every token of plain text, from scratch or continuing from a trained model."),
            rows=N_("plain text"),
            plain_text=True,
            demo="demo-laboratory",
            tiny="demo",
            reads=WEIGHTED,
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
            N_("Tag each word: names, places, parts of speech."),
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
        TaskKind(
            "masked_lm",
            N_("Masked language modelling"),
            N_("Guess hidden tokens of plain text, as BERT learned: to adapt an encoder to a subject."),
            rows=N_("plain text"),
            plain_text=True,
            writes=False,
            hides=True,
            reads=(
                *WEIGHTED,
                "data.masking.share",
                "data.masking.whole_words",
                "evaluation.prompts",
            ),
            demo="demo-texts",
            tiny="tiny-bert",
            goal=N_("Teach an encoder a trade's words"),
            example=N_("“The lathe turns the [MASK].” → workpiece"),
        ),
        TaskKind(
            "seq2seq",
            N_("Sequence to sequence"),
            N_("Rewrite a text: summaries, translations, answers. For models with encoder and decoder."),
            encoder_decoder=True,
            rows=N_("texts with what to write for each"),
            reads=(
                *WEIGHTED,
                "data.max_source",
                "data.max_target",
                "data.prefix",
                "data.source_language",
                "data.target_language",
                "data.media",
                "data.cleaning.refusals",
                "data.cleaning.min_answer",
                "data.cleaning.phrases",
                "training.label_smoothing",
            ),
            # The noise of NEFTune was made for models that read one text with one table of embeddings
            ignores=("data.max_length", "training.neftune_alpha"),
            demo="demo-summaries",
            tiny="tiny-t5",
        ),
    )
}

TINY = "tiny"  # a model name that stands for the small architecture of the task: `TaskKind.tiny`
TINY_NAMES = (
    "tiny-bert",
    "tiny-distilbert",
    "tiny-t5",
)  # small models with random weights, created when needed


def is_tiny_model(name: object) -> bool:
    """Return whether a model name means one of the small models with random weights."""
    return name == TINY or name in TINY_NAMES
