"""A sentence for each word that a field accepts, shown by the form, by completion and by the reference page.

Those of tasks, methods, record formats, chat templates and metrics are in their own registries.
"""

from __future__ import annotations

from collections.abc import Callable

from tui_tuner.config.kinds.formats import RECORD_FORMATS
from tui_tuner.config.kinds.methods import METHODS
from tui_tuner.config.kinds.tasks import TASKS
from tui_tuner.config.metrics import METRICS
from tui_tuner.locales import N_, _

_AUTO_RATE = N_("The usual rate for this method and task; the plan (F3) shows the rate and its source.")
_AUTO_EVERY = N_("About ten times per run.")
WORDS: dict[str, dict[str, str]] = {
    "model.name": {
        "demo": N_("A very small model inside this package: no download, fast on any machine."),
        "tiny": N_(
            "A very small encoder with random weights, generated here: to try out a task, not for real use."
        ),
    },
    "model.tokenizer": {
        "train": N_("Trains a tokenizer on your data, for a model that starts from random weights.")
    },
    "model.hub": {
        "huggingface": N_("huggingface.co, or the mirror set in HF_ENDPOINT."),
        "modelscope": N_("modelscope.cn, which is faster from China."),
    },
    "model.dtype": {
        "auto": N_("bfloat16 if this machine supports it and no accuracy is lost, else float32."),
        "bfloat16": N_("16 bits per weight: half the memory of float32, with the same range of numbers."),
        "float16": N_(
            "16 bits with a small range, which may overflow: for GPUs without bfloat16, such as the T4."
        ),
        "float32": N_("32 bits per weight: exact, but twice the memory of 16 bits, and slower on a GPU."),
    },
    "model.quantization": {
        "none": N_("The weights are not quantised."),
        "nf4": N_(
            "About 4 bits per weight: a quarter of the memory, slightly less exact. With LoRA this is QLoRA."
        ),
        "int8": N_("8 bits per weight: half the memory of 16 bits, but slower."),
    },
    "model.attention": {
        "auto": N_("The fastest that is exact for this model and machine; each is tested before use."),
        "sdpa": N_("PyTorch's own: exact, needs no other package."),
        "flash_attention_2": N_(
            "From the package flash-attn: for NVIDIA GPUs since Ampere, 16-bit numbers only."
        ),
        "flex_attention": N_("PyTorch's compiled attention: compiling delays the start."),
        "eager": N_("Unfused operations: slow, and memory grows with the square of the length."),
        "hub": N_("Also tries a kernel downloaded from the hub, and uses it if it is exact and faster."),
    },
    "data.path": {"demo": N_("Example rows inside this package, different for each task: to try out a run.")},
    "data.header": {
        "ask": N_("Looks at the first line, and asks if that is not conclusive."),
        "present": N_("The first line names the columns."),
        "absent": N_("The first line is already a row; columns are called column 1, column 2 and so on."),
    },
    "data.overlong": {
        "split": N_("Cuts a long row into pieces that fit; for classification only the beginning is kept."),
        "truncate": N_(
            "Keeps the beginning and cuts off the rest; the model may then not learn where to stop."
        ),
        "drop": N_("Leaves such rows out and counts them."),
    },
    "data.problem": {
        "auto": N_("Decides from the labels."),
        "single": N_("Each text has exactly one class."),
        "multi": N_("A text can have several classes, or none."),
        "regression": N_("The label is a number, such as a rating."),
    },
    "data.train_on": {
        "all_answers": N_("Every answer in a chat is trained; questions are only context."),
        "last_answer": N_("Only the last answer in a chat is trained."),
        "everything": N_(
            "Questions and system messages are trained too, so the model learns to write them as well."
        ),
    },
    "data.system_turns": {
        "keep": N_("System messages stay as they are."),
        "first_user": N_(
            "Their text is moved to the start of the first question: for templates without system messages."
        ),
        "drop": N_("They are left out and counted."),
    },
    "data.media": {
        "drop": N_("Such rows are left out and counted."),
        "ignore": N_("Only their text is trained, even if it refers to media that the model does not see."),
    },
    "data.packing": {
        "auto": N_("On if this model can keep rows apart, which is tested before training."),
        "true": N_("Short rows share a pass, so nothing is computed for padding; only where it is exact."),
        "false": N_("Each row separately, padded to the longest in its batch: slower."),
    },
    "data.pick": {
        "first": N_("The first rows of the file; reading stops after them."),
        "random": N_("Random rows from the whole file, which is read to its end: for sorted files."),
    },
    "data.preflight": {
        "stop": N_("The run stops before training and reports the errors."),
        "warn": N_("Errors are reported, and training starts anyway."),
        "off": N_("Like warn: no error keeps training from starting."),
    },
    "data.workers": {"auto": N_("One process per CPU core of this machine.")},
    "data.cleaning.html": {
        "keep": N_("HTML tags stay in the text."),
        "text": N_("Tags are removed; the text between them stays."),
        "markdown": N_("Tags become Markdown; headings, lists, links and emphasis are kept."),
    },
    "method.targets": {
        "all-linear": N_(
            "All linear layers inside the model's blocks: learns best, and is the usual choice today."
        ),
    },
    "training.learning_rate": {"auto": _AUTO_RATE},
    "training.micro_batch": {"auto": N_("As many as fit into memory and keep the device busy.")},
    "training.gradient_checkpointing": {
        "auto": N_("Off if memory suffices, else as much of it as needed."),
        "false": N_("All activations are stored: fastest, and needs the most memory."),
        "every_second": N_("Every second layer is recomputed: half the saving at half the cost."),
        "true": N_("Every layer is recomputed: saves a lot of memory; a step takes about 1.4 times as long."),
        "offload": N_("Like true, and stored activations wait in main memory: for very long rows."),
    },
    "training.optimizer": {
        "auto": N_("AdamW, or its 8-bit form if the GPU's memory would not suffice."),
        "adamw": N_("The usual one. It keeps two 32-bit numbers for each trained weight."),
        "adamw_8bit": N_("AdamW with these numbers in 8 bits: a quarter of the memory (bitsandbytes)."),
        "paged_adamw_8bit": N_("8-bit AdamW whose state may move to main memory when the GPU's is full."),
        "sgd": N_(
            "Plain gradient steps, no extra memory. Needs a much higher rate, and rarely suits these models."
        ),
        "adafactor": N_("Keeps row and column sums instead of a number per weight: needs little memory."),
    },
    "training.schedule": {
        "cosine": N_("Falls to zero along a cosine: slowly, fast, slowly again. The usual one."),
        "linear": N_("Falls to zero in a straight line."),
        "constant": N_("Constant after the warm-up, so the run can be extended later."),
        "inverse_sqrt": N_(
            "Falls with one over the square root of the step; independent of the run's length."
        ),
        "warmup_stable_decay": N_(
            "Constant after the warm-up, then falls to zero in the last tenth of the steps."
        ),
    },
    "training.loss": {
        "auto": N_("Only at trained positions: the same loss with less memory and time."),
        "full_logits": N_("At every position, as other programs do; for comparisons."),
    },
    "training.class_weights": {
        "none": N_("Every row counts equally."),
        "balanced": N_("The rarer a class, the more it counts."),
    },
    "training.autocast": {
        "auto": N_("On if this hardware is fast in 16 bits."),
        "true": N_("Matrix products in 16 bits, sums in 32: faster on GPUs, nearly as exact."),
        "false": N_("Everything is computed in the weights' own number format."),
    },
    "training.compile": {
        "auto": N_("Only on a GPU, and only if a measured gain pays for the delay before the first step."),
        "true": N_("Always; the first step may take minutes."),
        "false": N_("Never."),
    },
    "training.on_out_of_memory": {
        "retry": N_("The step is retried in smaller micro-batches; the result stays the same."),
        "stop": N_("The run ends; its last checkpoint can be resumed."),
    },
    "training.on_bad_numbers": {
        "warn": N_("A warning, and training continues; the weights may be corrupted."),
        "skip": N_("This batch is skipped, with a warning."),
        "rollback": N_("Returns to the last checkpoint and halves the learning rate."),
        "stop": N_("The run ends; its last checkpoint is valid and can be resumed."),
    },
    "evaluation.every": {"auto": _AUTO_EVERY},
    "evaluation.metrics": {"auto": N_("Metrics that suit the rows and the answers.")},
    "evaluation.best": {
        "auto": N_("The usual metric of the task: the loss for writing, F1 for tags and answers.")
    },
    "evaluation.null_threshold": {"auto": N_("The value with the best F1 on the held-out rows.")},
    "output.name": {"auto": N_("Built from time, model and task.")},
    "output.save_every": {"auto": N_("At each evaluation, and at least every save_minutes minutes.")},
    "output.notify": {
        "bell": N_("The terminal that shows the run rings its bell or flashes."),
        "desktop": N_("A notification on this desktop, or by the terminal if it can show one."),
    },
    "hardware.devices": {
        "auto": N_("A GPU if there is one, else the processor."),
        "cpu": N_("The processor, even if there is a GPU: slow, for small models."),
    },
}
_REGISTRIES: dict[str, Callable[[str], str]] = {
    "task": lambda word: TASKS[word].help if word in TASKS else "",
    "method.kind": lambda word: METHODS[word].help if word in METHODS else "",
    "data.format": lambda word: RECORD_FORMATS.get(word, "") if word != "auto" else "",
    "evaluation.best": lambda word: METRICS[word].help if word in METRICS else "",
}


def explain_word(path: str, word: str) -> str:
    """Return a paragraph about a word that a field accepts, translated; empty if there is none.

    The form shows it below the sentence of `word_told`, in the help of the field.
    """
    if path != "method.kind" or word not in METHODS:
        return ""
    kind = METHODS[word]
    parts = [_(kind.explanation)] if kind.explanation else []
    if kind.usual:
        parts.append(_("Usual values: {values}", values=_(kind.usual)))
    if kind.paper:
        parts.append(_("Source: {paper}.", paper=kind.paper))
    return "\n".join(parts)


def word_told(path: str, word: str) -> str:
    """Return a sentence about a word that a field accepts, untranslated; empty if there is none."""
    told = WORDS.get(path, {}).get(word, "")
    return told or (_REGISTRIES[path](word) if path in _REGISTRIES else "")
