"""The answers of an export as plain transformers, or plain peft, loads it; runs in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tui_tuner.exporting.parity.answers import Answers, answer_prompts, read_answers


def answer_with_transformers(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Load a folder as its users will, answer the same prompts, and keep the answers.

    Nothing of this program touches the model: `AutoTokenizer`, the auto class and `PeftModel` alone.

    Args:
        arguments: `export` (the folder), `follow` (the folder of the result's answers), `folder` (where
        answers
            are kept), `auto_class`, `writes`, `device`, `dtype`; `options` for `from_pretrained`, such as
            `gguf_file`; `base` (the folder of the base model) and `base_revision` for an adapter.
    """
    from importlib.metadata import version

    import torch
    import transformers

    follow = read_answers(Path(arguments["follow"]))
    export, options = arguments["export"], dict(arguments.get("options") or {})
    dtype = getattr(torch, arguments["dtype"])
    trusts = bool(arguments.get("trust_remote_code"))
    base = arguments.get("base")
    tokenizer = transformers.AutoTokenizer.from_pretrained(export, trust_remote_code=trusts, **options)
    kind = getattr(transformers, arguments["auto_class"])
    more = dict(arguments.get("config") or {})
    model: Any = kind.from_pretrained(
        base or export, dtype=dtype, trust_remote_code=trusts, **({} if base else options), **more
    )
    program = f"transformers {version('transformers')}"
    if base:
        from peft import PeftModel

        rows = arguments.get("rows")
        if rows and rows != model.get_input_embeddings().weight.shape[0]:
            model.resize_token_embeddings(rows, mean_resizing=False)
        model = PeftModel.from_pretrained(model, export)
        program = f"peft {version('peft')}, {program}"
    model = model.to(arguments["device"]).eval()
    answers = answer_prompts(
        model, tokenizer, follow.prompts, follow.answers, writes=bool(arguments["writes"]),
        virtual=int(arguments.get("virtual", 0)),
    )  # fmt: skip
    found = Answers(follow.prompts, answers, program, details={"dtype": arguments["dtype"]})
    found.details["rendered_equal"] = count_other_renderings(tokenizer, follow.prompts) == 0
    found.save_to(Path(arguments["folder"]))
    return {"prompts": len(answers), "class": type(model).__name__}


def count_other_renderings(tokenizer: Any, prompts: Any) -> int:
    """Count the chats that the export's own chat template renders differently."""
    wrong = 0
    for prompt in prompts:
        if not prompt.messages:
            continue
        try:
            text = tokenizer.apply_chat_template(
                list(prompt.messages), tokenize=False, add_generation_prompt=True
            )
        # No template, or one that refuses: another rendering in any case
        except Exception:
            text = ""
        wrong += text != prompt.text
    return wrong
