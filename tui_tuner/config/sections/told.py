"""What each word that a field takes means: a sentence for the form, for completion and for a reference page.

Tasks, methods, record formats, chat templates and metrics have theirs in registries of their own.
"""

from __future__ import annotations

from collections.abc import Callable

from tui_tuner.config.kinds import METHODS, RECORD_FORMATS, TASKS
from tui_tuner.config.metrics import METRICS
from tui_tuner.locales import N_

_AUTO_RATE = N_("Takes a rate that is usual for this method and task; the plan (F3) says which, and by whom.")
_AUTO_EVERY = N_("About ten times in the run.")
WORDS: dict[str, dict[str, str]] = {
    "model.name": {
        "demo": N_("A very small model inside this package: no download, quick on any machine."),
        "tiny": N_("A very small encoder with random weights, made here: to try a task with, not to use."),
    },
    "model.tokenizer": {
        "train": N_("Learns a tokenizer from your data, for a model that starts from nothing.")
    },
    "model.hub": {
        "huggingface": N_("huggingface.co, or the mirror that HF_ENDPOINT names."),
        "modelscope": N_("modelscope.cn, which is quicker to reach from China."),
    },
    "model.dtype": {
        "auto": N_("bfloat16 where this machine computes in it and it loses nothing, else float32."),
        "bfloat16": N_("16 bits a weight: half the memory of float32, with the same range of numbers."),
        "float16": N_(
            "16 bits with a small range: for GPUs without bfloat16, such as the T4; it may overflow."
        ),
        "float32": N_("32 bits a weight: exact, takes twice the memory of 16 bits, and is slower on a GPU."),
    },
    "model.quantization": {
        "none": N_("The weights stay as they are."),
        "nf4": N_(
            "About 4 bits a weight: a quarter of the memory, a little less exact. With LoRA it is QLoRA."
        ),
        "int8": N_("8 bits a weight: half the memory of 16 bits, and slower."),
    },
    "model.attention": {
        "auto": N_(
            "The fastest that is exact for this model on this machine; each is tried before it is used."
        ),
        "sdpa": N_("PyTorch's own: exact, needs nothing else."),
        "flash_attention_2": N_(
            "Of the package flash-attn: for NVIDIA GPUs since Ampere, and 16-bit numbers."
        ),
        "flex_attention": N_("PyTorch's compiled attention: takes a while to compile at the start."),
        "eager": N_("Step by step: slow, and takes memory that grows with the square of the length."),
        "hub": N_(
            "Also tries a kernel that is downloaded from the hub, and keeps it where it is exact and faster."
        ),
    },
    "data.path": {"demo": N_("Rows inside this package, for each task its own: to try a run with.")},
    "data.header": {
        "ask": N_("Looks at the first line, and asks where it is not sure."),
        "present": N_("The first line names the columns."),
        "absent": N_("The first line is a row already; columns are called column 1, column 2 and so on."),
    },
    "data.overlong": {
        "split": N_(
            "Cuts a long row into pieces that fit; of a text with a class, only the beginning is kept."
        ),
        "truncate": N_("Keeps the beginning and cuts off the rest; the model may not learn where to stop."),
        "drop": N_("Leaves such rows out, and counts them."),
    },
    "data.problem": {
        "auto": N_("Looks at the labels and decides."),
        "single": N_("Each text has one class."),
        "multi": N_("A text can have several classes at once, or none."),
        "regression": N_("The label is a number, such as a grade."),
    },
    "data.train_on": {
        "all_answers": N_("Every answer of a chat is learnt; questions are only read."),
        "last_answer": N_("Only the last answer of a chat is learnt."),
        "everything": N_("Questions and system messages are learnt, too: the model then also writes those."),
    },
    "data.system_turns": {
        "keep": N_("They stay as they are."),
        "first_user": N_(
            "Their text is put before the first question: for templates without system messages."
        ),
        "drop": N_("They are left out, and counted."),
    },
    "data.media": {
        "drop": N_("Such rows are left out, and counted."),
        "ignore": N_("Their text alone is learnt, though it speaks of what the model does not see."),
    },
    "data.packing": {
        "auto": N_("On, where this model can keep rows apart; this is tried out before training."),
        "true": N_("Always, where it is exact: short rows share a pass, so nothing is computed for padding."),
        "false": N_("Each row for itself, filled up to the longest beside it: slower."),
    },
    "data.pick": {
        "first": N_("The first rows of the file; reading ends there."),
        "random": N_("Rows from anywhere in the file, which is read to its end: for files that are sorted."),
    },
    "data.preflight": {
        "stop": N_("The run ends before training and says what is wrong."),
        "warn": N_("It is said, and training begins all the same."),
        "off": N_("As with warn: nothing that is found keeps training from beginning."),
    },
    "data.workers": {"auto": N_("As many as this machine has processor cores.")},
    "data.cleaning.html": {
        "keep": N_("Tags stay in the text."),
        "text": N_("Tags are taken out; what stands between them stays."),
        "markdown": N_("Tags become Markdown: headings, lists, links and emphasis are kept."),
    },
    "method.targets": {
        "all-linear": N_("All linear layers inside the stack of layers: learns best, and is usual today."),
    },
    "training.learning_rate": {"auto": _AUTO_RATE},
    "training.micro_batch": {"auto": N_("As many as fit into memory and fill the device.")},
    "training.gradient_checkpointing": {
        "auto": N_("Off where memory suffices; else as much of it as is needed."),
        "false": N_("All is kept: the fastest, and takes the most memory."),
        "every_second": N_("Every second layer is computed again: half of the saving for half of the time."),
        "true": N_("Every layer is computed again: saves most memory; a step takes about 1.4 times as long."),
        "offload": N_("As true, and what is kept waits in the machine's main memory: for very long rows."),
    },
    "training.optimizer": {
        "auto": N_("AdamW; with 8 bits where a GPU's memory would not do otherwise."),
        "adamw": N_("The usual one. It keeps two numbers of 32 bits for each trained weight."),
        "adamw_8bit": N_("AdamW with those numbers in 8 bits: a quarter of their memory (bitsandbytes)."),
        "paged_adamw_8bit": N_("The same, and they may move to main memory when the GPU's is full."),
        "sgd": N_(
            "Plain gradient steps: no extra memory. Needs a much higher rate, and rarely suits these models."
        ),
        "adafactor": N_("Keeps sums of rows and columns in place of whole tables: little memory."),
    },
    "training.schedule": {
        "cosine": N_("Falls to zero along a curve: slowly, quickly, slowly again. The usual one."),
        "linear": N_("Falls to zero in a straight line."),
        "constant": N_("Stays as it is after warming up: a run can then be made longer later."),
        "inverse_sqrt": N_(
            "Falls as one over the square root of the steps; it does not depend on the run's length."
        ),
        "warmup_stable_decay": N_(
            "Stays as it is, and falls to zero along a curve in the last tenth of the steps."
        ),
    },
    "training.loss": {
        "auto": N_("Only where something is learnt: the same loss with less memory and time."),
        "full_logits": N_("At every position, as other programs do: for comparisons."),
    },
    "training.class_weights": {
        "none": N_("Every row counts alike."),
        "balanced": N_("A rare class counts more, in the measure in which it is rare."),
    },
    "training.autocast": {
        "auto": N_("On where this hardware computes quickly in 16 bits."),
        "true": N_("Products in 16 bits, sums in 32: faster on GPUs, nearly as exact."),
        "false": N_("All in the numbers that the weights have."),
    },
    "training.compile": {
        "auto": N_("Only on a GPU where a measured gain pays for the wait before the first step."),
        "true": N_("Always: the first step may take minutes."),
        "false": N_("Never."),
    },
    "training.on_out_of_memory": {
        "retry": N_("The step is tried again in smaller parts; the result stays the same."),
        "stop": N_("The run ends; its last checkpoint can be resumed."),
    },
    "training.on_bad_numbers": {
        "warn": N_("It is said, and training goes on; the weights may be spoilt."),
        "skip": N_("This batch is left out, and it is said."),
        "rollback": N_("Back to the last checkpoint; where it happens again, with half the learning rate."),
        "stop": N_("The run ends; its last checkpoint is sound and can be resumed."),
    },
    "evaluation.every": {"auto": _AUTO_EVERY},
    "evaluation.metrics": {"auto": N_("Those that suit the rows and the answers.")},
    "evaluation.best": {
        "auto": N_("What is usual for the task: the loss where text is written, F1 for tags and answers.")
    },
    "evaluation.null_threshold": {
        "auto": N_("The value with the best F1 on the held-out rows is looked for.")
    },
    "output.name": {"auto": N_("Made of the time, the model and the task.")},
    "output.save_every": {"auto": N_("At each evaluation, and at least every save_minutes.")},
    "output.notify": {
        "bell": N_("The terminal that shows the run rings its bell, or flashes."),
        "desktop": N_("A notice on this desktop, or by the terminal where it can show one."),
    },
    "hardware.devices": {
        "auto": N_("A GPU where there is one, else the processor."),
        "cpu": N_("The processor, even where there is a GPU: slow, for small models."),
    },
}
_REGISTRIES: dict[str, Callable[[str], str]] = {
    "task": lambda word: TASKS[word].help if word in TASKS else "",
    "method.kind": lambda word: METHODS[word].help if word in METHODS else "",
    "data.format": lambda word: RECORD_FORMATS.get(word, "") if word != "auto" else "",
    "evaluation.best": lambda word: METRICS[word].help if word in METRICS else "",
}


def word_told(path: str, word: str) -> str:
    """One sentence about a word that a field takes, untranslated; empty where there is none."""
    told = WORDS.get(path, {}).get(word, "")
    return told or (_REGISTRIES[path](word) if path in _REGISTRIES else "")
