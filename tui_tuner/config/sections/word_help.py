"""Explanations of the words that fields take: a sentence each for the form, completion and reference page.

Those of tasks, methods, record formats, chat templates and metrics are in their registries.
"""

from __future__ import annotations

from collections.abc import Callable

from tui_tuner.config.kinds.formats import RECORD_FORMATS
from tui_tuner.config.kinds.methods import METHODS
from tui_tuner.config.kinds.optimizers import FIELD, OPTIMIZERS
from tui_tuner.config.kinds.tasks import TASKS
from tui_tuner.config.metrics import METRICS
from tui_tuner.locales import N_, _

_AUTO_RATE = N_("A rate that is usual for this method and task; the plan (F3) shows the rate and its source.")
_AUTO_EVERY = N_("About ten times per run.")
WORDS: dict[str, dict[str, str]] = {
    "model.name": {
        "demo": N_("A very small model inside this package: no download, fast on any machine."),
        "tiny": N_(
            "A very small model with random weights, created here: for trying out a task, not for real use."
        ),
    },
    "model.tokenizer": {
        "train": N_("Trains a tokenizer on your data, for a model that starts from random weights.")
    },
    "model.hub": {
        "huggingface": N_("huggingface.co, or the mirror that HF_ENDPOINT names."),
        "modelscope": N_("modelscope.cn, which is faster to reach from China."),
    },
    "model.dtype": {
        "auto": N_("bfloat16 if this machine supports it and no precision is lost, otherwise float32."),
        "bfloat16": N_("16 bits per weight: half the memory of float32, with the same range of numbers."),
        "float16": N_(
            "16 bits with a small range that can overflow: for GPUs without bfloat16, such as the T4."
        ),
        "float32": N_(
            "32 bits per weight: the most exact, with twice the memory of 16 bits, and slower on a GPU."
        ),
    },
    "method.style": {
        "pfeiffer": N_(
            "One adapter in each layer, behind its feed-forward block: the usual choice, and quickest."
        ),
        "houlsby": N_("Two in each layer, behind attention and behind the feed-forward block."),
        "parallel": N_("One in each layer that reads what the feed-forward block reads; usually wider."),
    },
    "method.non_linearity": {
        "relu": N_("Negative numbers become 0; the usual one of the styles pfeiffer and parallel."),
        "gelu": N_("A smooth form of relu, as in BERT and GPT."),
        "swish": N_("A smooth form of relu, as in Llama; the usual one of the style houlsby."),
        "tanh": N_("Bends all numbers into those between -1 and 1."),
        "leakyrelu": N_("Negative numbers become a hundredth of themselves."),
    },
    "method.layer_norm": {
        "none": N_("The adapter has no norm of its own."),
        "before": N_("A trained norm of what the adapter reads."),
        "after": N_("A trained norm of what the adapter adds; such adapters cannot be fused."),
    },
    "model.quantization": {
        "none": N_("The weights are not quantised."),
        "nf4": N_(
            "About 4 bits per weight: a quarter of the memory of 16 bits, a little less exact. With "
            "LoRA, this is QLoRA."
        ),
        "int8": N_("8 bits per weight: half the memory of 16 bits, and slower."),
    },
    "model.new_tokens_train": {
        "rows": N_("The embeddings of the new tokens; those of all others stay as they are."),
        "all": N_("The embeddings of all tokens, and the head: more memory, and a larger adapter."),
        "nothing": N_("No embeddings: each new token keeps the mean of the pieces that it replaces."),
    },
    "model.adapter_use": {
        "continue": N_("The adapter is trained on: same method, same sizes, and one adapter in the end."),
        "merge": N_("It is added into the model's weights first; the run then begins with that model."),
        "stack": N_("It stays frozen and active, and a new adapter is trained on top of it."),
    },
    "model.attention": {
        "auto": N_(
            "The fastest one that is exact for this model on this machine; each is tested before it is used."
        ),
        "sdpa": N_("PyTorch's own: exact, and needs no other package."),
        "flash_attention_2": N_(
            "From the package flash-attn: for NVIDIA GPUs from Ampere on, and 16-bit numbers."
        ),
        "flex_attention": N_("PyTorch's compiled attention: takes a while to compile at the start."),
        "eager": N_("Unfused operations: slow, and memory grows with the square of the sequence length."),
        "hub": N_("Also tries a kernel downloaded from the hub, and keeps it if it is exact and faster."),
    },
    "data.path": {
        "demo": N_("Sample rows inside this package, different for each task: for trying out a run.")
    },
    "data.header": {
        "ask": N_("Looks at the first line, and asks if it is unclear."),
        "present": N_("The first line names the columns."),
        "absent": N_("The first line is already a row; columns are named column 1, column 2 and so on."),
    },
    "data.overlong": {
        "split": N_("Cuts a long row into pieces that fit; a text with a class keeps only its beginning."),
        "truncate": N_("Keeps the beginning and cuts off the rest; the model may not learn when to stop."),
        "drop": N_("Leaves such rows out, and counts them."),
    },
    "data.problem": {
        "auto": N_("Looks at the labels and decides."),
        "single": N_("Each text has one class."),
        "multi": N_("A text can have several classes at once, or none."),
        "regression": N_("The label is a number, such as a grade."),
    },
    "data.train_on": {
        "all_answers": N_("Every answer of a chat is trained; questions serve as context only."),
        "last_answer": N_("Only the last answer of a chat is trained."),
        "everything": N_(
            "Questions and system messages are trained too, so the model learns to write those as well."
        ),
    },
    "data.system_turns": {
        "keep": N_("They stay as they are."),
        "first_user": N_(
            "Their text is placed before the first question: for templates without system messages."
        ),
        "drop": N_("They are left out, and counted."),
    },
    "data.media": {
        "drop": N_("Such rows are left out, and counted."),
        "ignore": N_("Only their text is trained, although it may refer to media that the model cannot see."),
    },
    "data.packing": {
        "auto": N_("On if this model can keep rows apart, which is tested before training."),
        "true": N_(
            "Always on if it is exact: short rows share a sequence, so nothing is computed for padding."
        ),
        "false": N_("One row per sequence, padded to the longest of its batch: slower."),
    },
    "data.pick": {
        "first": N_("The first rows of the file; reading stops there."),
        "random": N_("Rows from anywhere in the file, which is read to the end: for files that are sorted."),
    },
    "data.preflight": {
        "stop": N_("The run ends before training and reports what is wrong."),
        "warn": N_("The run reports the error and starts training anyway."),
        "off": N_("Same as warn: no error that is found prevents training."),
    },
    "data.workers": {"auto": N_("One for each processor core of this machine.")},
    "data.cleaning.html": {
        "keep": N_("Tags stay in the text."),
        "text": N_("Tags are removed; the text between them stays."),
        "markdown": N_("Tags become Markdown: headings, lists, links and emphasis are kept."),
    },
    "method.targets": {
        "all-linear": N_(
            "All linear layers of the transformer layers: learns best, and is the usual choice."
        ),
        "experts": N_("The fused weights of a mixture's experts (LoRA and rank-stabilised LoRA)."),
    },
    "method.init": {
        "default": N_("At random, with an update of zero: the base model computes as before."),
        "pissa": N_(
            "The directions that matter most in each weight are taken out of it, and trained "
            "(arXiv 2404.02948)."
        ),
        "loftq": N_("What quantising to 4 bits lost of each weight is given back (arXiv 2310.08659)."),
        "olora": N_("Orthogonal directions are taken out of each weight and trained (arXiv 2406.01775)."),
        "eva": N_("The directions in which a layer's inputs differ most for your rows (arXiv 2410.07170)."),
    },
    "training.learning_rate": {"auto": _AUTO_RATE},
    "training.micro_batch": {"auto": N_("As many as fit into memory and keep the device busy.")},
    "training.gradient_checkpointing": {
        "auto": N_("Off if memory suffices; otherwise as much of it as is needed."),
        "false": N_("All activations are kept: the fastest, with the most memory."),
        "every_second": N_("Every second layer is recomputed: half the saving for half the extra time."),
        "true": N_("Every layer is recomputed: saves a lot of memory; a step takes about 1.4 times as long."),
        "offload": N_(
            "Same as true, with the activations that are kept moved to main memory: for very long rows."
        ),
    },
    "training.optimizer": {
        "auto": N_("AdamW; 8-bit AdamW if the GPU's memory would not suffice otherwise."),
        "adamw": N_("The usual choice. It keeps two 32-bit numbers for each trained weight."),
        "adamw_8bit": N_("AdamW with those numbers in 8 bits: a quarter of their memory (bitsandbytes)."),
        "paged_adamw_8bit": N_("The same, but its state can move to main memory when GPU memory is full."),
        "sgd": N_(
            "Plain gradient descent: no extra memory. Needs a much higher learning rate, and rarely "
            "suits these models."
        ),
        "adafactor": N_(
            "Keeps one number per row and column of a weight matrix instead of one per weight: little memory."
        ),
        "lion": N_("Steps by the sign of the averaged gradient: half of AdamW's memory, and a lower rate."),
        "muon": N_("Makes the updates of weight matrices orthogonal; AdamW trains everything else."),
        "schedule_free": N_("AdamW that averages its weights instead of lowering the learning rate."),
        "galore": N_("AdamW in the few directions in which a matrix's gradient is largest: little memory."),
        "apollo": N_("Learns the length of each row's step in a few random directions: little memory."),
    },
    "training.schedule": {
        "cosine": N_("Falls to zero along a cosine curve: slowly, quickly, slowly again. The usual choice."),
        "linear": N_("Falls to zero in a straight line."),
        "constant": N_("Stays constant after the warm-up, so that a run can be extended later."),
        "inverse_sqrt": N_(
            "Falls with one over the square root of the step number; does not depend on the length of "
            "the run."
        ),
        "warmup_stable_decay": N_(
            "Stays constant after the warm-up and falls to zero along a curve in the last tenth of the steps."
        ),
    },
    "training.loss": {
        "auto": N_("Only at trained tokens: the same loss with less memory and time."),
        "full_logits": N_("At every position, as in other programs: for comparisons."),
    },
    "training.class_weights": {
        "none": N_("Every row has the same weight."),
        "balanced": N_("Each class is weighted by the inverse of its frequency, so rare classes count more."),
    },
    "training.autocast": {
        "auto": N_("On if this hardware is fast in 16 bits."),
        "true": N_("Matrix products in 16 bits, sums in 32: faster on GPUs, and nearly as exact."),
        "false": N_("Everything is computed in the number format of the weights."),
    },
    "training.compile": {
        "auto": N_(
            "Only on a GPU, and only if a measured speedup makes up for the wait before the first step."
        ),
        "true": N_("Always: the first step may take minutes."),
        "false": N_("Never."),
    },
    "training.on_out_of_memory": {
        "retry": N_("The step is repeated in smaller parts; the result stays the same."),
        "stop": N_("The run ends; it can be resumed from its last checkpoint."),
    },
    "training.on_bad_numbers": {
        "warn": N_("The run warns and continues training; the weights may be corrupted."),
        "skip": N_("The batch is skipped, with a warning."),
        "rollback": N_("Goes back to the last checkpoint; if it happens again, with half the learning rate."),
        "stop": N_("The run ends; its last checkpoint is intact, and the run can be resumed from it."),
    },
    "evaluation.every": {"auto": _AUTO_EVERY},
    "evaluation.metrics": {"auto": N_("Those that suit the rows and the answers.")},
    "evaluation.best": {
        "auto": N_(
            "The usual metric of the task: the loss for generated text, F1 for tags and extracted answers."
        )
    },
    "evaluation.null_threshold": {"auto": N_("The value with the best F1 on the held-out rows.")},
    "output.name": {"auto": N_("Built from the time, the model and the task.")},
    "output.save_every": {"auto": N_("At each evaluation, and at least every save_minutes.")},
    "output.notify": {
        "bell": N_("The terminal that shows the run rings its bell, or flashes."),
        "desktop": N_("A notification on this desktop, or from the terminal if it can show one."),
    },
    "hardware.devices": {
        "auto": N_("A GPU if there is one, otherwise the processor."),
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
    """Return a translated paragraph about a word that a field takes; empty if there is none.

    The form shows it below the sentence of `describe_option_word`, in the help of the field.
    """
    if path == FIELD and word in OPTIMIZERS:
        return _(OPTIMIZERS[word].explanation) if OPTIMIZERS[word].explanation else ""
    if path != "method.kind" or word not in METHODS:
        return ""
    kind = METHODS[word]
    parts = [_(kind.explanation)] if kind.explanation else []
    if kind.usual:
        parts.append(_("Usual values: {values}", values=_(kind.usual)))
    if kind.paper:
        parts.append(_("Source: {paper}.", paper=kind.paper))
    return "\n".join(parts)


def describe_option_word(path: str, word: str) -> str:
    """Return an untranslated sentence about a word that a field takes; empty if there is none."""
    told = WORDS.get(path, {}).get(word, "")
    return told or (_REGISTRIES[path](word) if path in _REGISTRIES else "")
