"""The model to start from."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from tui_tuner.config.chat_templates import CHAT_TEMPLATES, OWN
from tui_tuner.config.sections.field_options import Auto, Section, declare_option
from tui_tuner.config.sections.new_tokens import check_new_tokens
from tui_tuner.locales import N_

Dtype = Literal["bfloat16", "float16", "float32"]
Attention = Literal["sdpa", "flash_attention_2", "flex_attention", "eager", "hub"]


class ModelSection(Section):
    """The model to start from, and how it is held in memory."""

    name: str = declare_option(
        "demo",
        N_("Hub id, local folder, `demo` (the small model inside this package), or `tiny`."),
        N_(
            "The model to train. A hub id such as Qwen/Qwen3-0.6B is downloaded once; a folder must hold "
            "config.json, the tokenizer and safetensors weights. tiny is a small encoder with random "
            "weights, created on this machine, for trying out a task."
        ),
        min_length=1,
    )
    hub: Literal["huggingface", "modelscope"] = declare_option(
        "huggingface",
        N_("Hub that a model id belongs to."),
        N_(
            "huggingface is huggingface.co, or the mirror that HF_ENDPOINT names. modelscope is "
            "modelscope.cn, which is faster to reach from China. Folders, demo and tiny use no hub."
        ),
        advanced=True,
    )
    revision: str | None = declare_option(None, N_("Branch, tag or commit of a hub model."), advanced=True)
    dtype: Auto | Dtype = declare_option(
        "auto",
        N_("Number format of the weights."),
        N_(
            "auto chooses bfloat16 if the hardware supports it, otherwise float32. float16 has a small "
            "range and can overflow; use it on GPUs without bfloat16, such as the T4."
        ),
    )
    quantization: Literal["none", "nf4", "int8"] = declare_option(
        "none",
        N_("Keep the frozen weights in 4 or 8 bits (bitsandbytes)."),
        N_(
            "nf4 with LoRA is QLoRA (arXiv 2305.14314): the weights take about a quarter of the memory of "
            "bfloat16. Only adapters can be trained on quantised weights."
        ),
    )
    double_quant: bool = declare_option(
        True,
        N_("Quantise the quantisation constants too (nf4)."),
        N_("Saves another 0.37 bits per weight."),
        advanced=True,
    )
    attention: Auto | Attention = declare_option(
        "auto",
        N_("Attention implementation."),
        N_(
            "auto chooses the fastest one that is exact for this model and machine. hub also tries a "
            "kernel from the hub, which the package kernels downloads, and uses it if it is exact and "
            "faster."
        ),
        advanced=True,
    )
    chat_template: str | None = declare_option(
        None,
        N_("Chat template: a name such as `llama3`, or a Jinja file; empty means the model's own."),
        N_(
            "Defines how the turns of a chat become text. A fine-tuned chat model expects its own. A "
            "model without one gets ChatML, and the run reports that. A name takes precedence over a "
            "file of the same name; `tui-tuner data templates` lists the names."
        ),
        words=(*CHAT_TEMPLATES, OWN),
        advanced=True,
    )
    trust_remote_code: bool = declare_option(
        False,
        N_("Run Python code that comes with this model."),
        N_(
            "Some hub models bring their own code. It runs with your permissions, so allow it only for a "
            "model that you trust."
        ),
        advanced=True,
    )
    architecture: dict[str, Any] | None = declare_option(
        None,
        N_(
            "Start from random weights of this shape (a transformers config) instead of loading trained ones."
        ),
        N_(
            "For pretraining from scratch: model_type and its sizes, such as hidden_size and "
            "num_hidden_layers."
        ),
        advanced=True,
    )
    adapter: str | None = declare_option(
        None,
        N_("An adapter to begin with: a run, or a folder that holds one."),
        N_(
            "A run stands for its best model, RUN/last for its last one. The adapter must have been trained "
            "on this same model; a copy of it stays in the new run's folder."
        ),
        min_length=1,
        advanced=True,
    )
    adapter_use: Literal["continue", "merge", "stack"] = declare_option(
        "continue",
        N_("What becomes of that adapter."),
        N_(
            "continue trains it on, with its own sizes. merge adds it to the model's weights first, and any "
            "method goes on from there. stack leaves it as it is, and trains a new adapter on top of it."
        ),
        advanced=True,
    )
    tokenizer: str | None = declare_option(
        None,
        N_("Tokenizer folder or hub id, if not the model's own; `train` trains a new one on the data."),
        advanced=True,
    )
    vocabulary: int = declare_option(
        4096, N_("Size of a newly trained tokenizer."), unit=N_("tokens"), ge=64, le=1_000_000, advanced=True
    )
    new_tokens: Annotated[dict[str, Any] | list[str] | None, BeforeValidator(check_new_tokens)] = (
        declare_option(
            None,
            N_("New tokens for the vocabulary: {learn: 500}, {file: words.txt}, or a list of words."),
            N_(
                "Words of a trade that the tokenizer cuts into many pieces become tokens of their own, so "
                "that "
                "texts take fewer tokens. learn finds the ones that save most in the training rows; a file "
                "has "
                "one word a line. Each starts as the mean of the pieces that it replaces, and is then "
                "trained. "
                "A list in the command line is written [polymerase, plasmid]."
            ),
            advanced=True,
        )
    )
    new_tokens_train: Literal["rows", "all", "nothing"] = declare_option(
        "rows",
        N_("What is trained of the embeddings, for new tokens, beside an adapter."),
        N_(
            "rows trains the embeddings of the new tokens alone, and those of all others stay as they are. "
            "all "
            "trains every embedding, as method.train_embeddings does. nothing leaves the new ones as they "
            "began."
        ),
        advanced=True,
    )
