"""Names of the tasks, methods and record formats a run may ask for.

Only names and words live here, so that forms and validation need no training library. A task is the module of
the same name in `tasks`, a record format one in `data.formats`; a method is registered under the same name in
`methods`, and a test holds the lists together. A new one is added here and there, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tui_tuner.locales import N_


@dataclass(frozen=True)
class Kind:
    """A choice in a registry: its name in a config, a short label and one line of help."""

    name: str
    label: str
    help: str


@dataclass(frozen=True)
class TaskKind(Kind):
    """A task, with what planning has to know of it.

    Args:
        plain_text: It learns whole documents: many passes over them are usual, and a model may begin with
            random weights, at the rates for that.
        preference: It learns from comparisons, at rates much lower than those of other tasks.
        writes: Its model writes text: prompts are answered, and what is generated is scored.
        best: The metric that decides which checkpoint is best, where the config leaves that open and the
            rows do not say more (`Task.settle`).
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
    """Whether a model's name means one of the small ones with random weights."""
    return name == TINY or name in TINY_NAMES


METHODS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "lora",
            N_("LoRA"),
            N_("Trains small matrices beside the frozen weights; the usual choice (arXiv 2106.09685)."),
        ),
        Kind(
            "dora",
            N_("DoRA"),
            N_("LoRA that also learns how large each update is: a little better, slower (arXiv 2402.09353)."),
        ),
        Kind(
            "rslora",
            N_("Rank-stabilised LoRA"),
            N_("LoRA whose updates keep their size at high ranks, such as 64 (arXiv 2312.03732)."),
        ),
        Kind(
            "full",
            N_("Full fine-tuning"),
            N_("Trains every weight: can learn most, takes most memory, saves the whole model."),
        ),
        Kind(
            "freeze",
            N_("Top layers only"),
            N_("Trains the last few layers as they are; those below stay frozen."),
        ),
        Kind(
            "loha",
            N_("LoHa"),
            N_("Like LoRA; two products multiplied reach more with as little (arXiv 2108.06098)."),
        ),
        Kind(
            "vera",
            N_("VeRA"),
            N_("Trains only vectors beside random matrices that all layers share (arXiv 2310.11454)."),
        ),
        Kind(
            "ia3",
            N_("IA3"),
            N_("Trains one factor for each output of a layer: among the smallest (arXiv 2205.05638)."),
        ),
        Kind(
            "prompt_tuning",
            N_("Prompt tuning"),
            N_("Trains a prompt of numbers before each text; the model stays (arXiv 2104.08691)."),
        ),
        Kind(
            "p_tuning",
            N_("P-tuning"),
            N_("Prompt tuning with a small network that makes the prompt (arXiv 2103.10385)."),
        ),
        Kind(
            "prefix_tuning",
            N_("Prefix tuning"),
            N_("Trains what each layer attends to before the text (arXiv 2101.00190)."),
        ),
    )
}

RANKED = ("lora", "dora", "rslora")  # low-rank matrices: rank, alpha, dropout
PROMPTS = ("prompt_tuning", "p_tuning", "prefix_tuning")  # virtual tokens before each sequence
ADAPTERS = (*RANKED, "loha", "vera", "ia3", *PROMPTS)  # the model's own weights stay as they are
QUANTISABLE = tuple(kind for kind in ADAPTERS if kind != "loha")  # which read weights in 4 or 8 bits

# Which fields of the section `method` each method reads, beside `kind`
METHOD_FIELDS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(RANKED, ("rank", "alpha", "dropout", "targets", "layers", "train_embeddings")),
    "loha": ("rank", "alpha", "targets", "layers"),
    "vera": ("rank", "dropout", "targets", "layers"),
    "full": (),
    "freeze": ("layers",),
    "ia3": ("targets", "layers"),
    "prompt_tuning": ("virtual_tokens", "initial_text"),
    "p_tuning": ("virtual_tokens", "encoder_size"),
    "prefix_tuning": ("virtual_tokens", "encoder_size", "initial_text"),
}

RECORD_FORMATS: dict[str, str] = {
    "auto": N_("recognise it"),
    "alpaca": N_("instruction, input, output"),
    "sharegpt": N_("conversations with from/value"),
    "messages": N_("OpenAI messages with role/content"),
    "transcript": N_("one text with Human: and Assistant:"),
    "turns": N_("a turn in each row"),
    "tree": N_("a message with replies"),
    "prompt_response": N_("one prompt column, one answer column"),
    "chatglm": N_("prompt, response, history"),
    "preference": N_("chosen and rejected answers"),
    "kto": N_("an answer and whether it is good"),
    "text": N_("plain text"),
    "text_label": N_("text and a class"),
    "sentence_pair": N_("two sentences, with or without a label"),
    "token_tags": N_("tokens and their tags"),
    "qa": N_("question, context, answers"),
}

# What `data.columns` may call a column, and what such a column holds
ROLES: dict[str, str] = {
    "prompt": N_("what the model is asked"),
    "response": N_("the answer it learns to give"),
    "input": N_("more to what is asked: a context, a text to work on"),
    "system": N_("the system message"),
    "history": N_("earlier questions and answers of the same chat"),
    "tools": N_("the tools that the model may call"),
    "messages": N_("a whole chat: a list of turns"),
    "chosen": N_("the better answer"),
    "rejected": N_("the worse answer"),
    "good": N_("whether the answer is good: true or false"),
    "text": N_("the text"),
    "pair": N_("the second text of a pair"),
    "label": N_("its class, or a number"),
    "tokens": N_("a list of words"),
    "tags": N_("a tag for each of the words"),
    "question": N_("the question"),
    "context": N_("the text in which the answer stands"),
    "answers": N_("the answers, with where each begins"),
    "role": N_("who speaks: user, assistant or system"),
    "content": N_("what is said in the turn"),
    "conversation": N_("which chat the turn belongs to"),
}
