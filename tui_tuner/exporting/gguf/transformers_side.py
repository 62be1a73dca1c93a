"""The answers of a GGUF file as transformers reads it; runs in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tui_tuner.exporting.gguf.families import find_family
from tui_tuner.exporting.gguf.gguf_target import read_config
from tui_tuner.exporting.gguf.reading_back import list_file_ends, load_back, load_tokenizer_back
from tui_tuner.exporting.parity.answers import Answers, answer_prompts, read_answers
from tui_tuner.exporting.parity.transformers_side import count_other_renderings


def answer_with_gguf(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Load a file, answer the same prompts, and keep the answers.

    Args:
        arguments: `file`, `follow` (the folder of the result's answers), `folder` (where answers are kept),
            `dtype`, `config` (of the result, as in config.json), `prefix` (whether the file sets a space
            before a text; None if its tokenizer has no such choice), `trims` (as in `gguf.vocabulary`).
    """
    from importlib.metadata import version

    import torch
    from transformers import logging

    logging.disable_progress_bar()
    path, follow = Path(arguments["file"]), read_answers(Path(arguments["follow"]))
    config = read_config(dict(arguments["config"]), path.name).get_text_config()
    family = find_family(config, path.name)
    tokenizer = load_tokenizer_back(path, arguments.get("prefix"), arguments.get("trims") or ())
    model = load_back(family, config, path, getattr(torch, arguments["dtype"]))
    # a GGUF file has no generation config: programs stop at the tokens that it names
    model.generation_config.eos_token_id = list_file_ends(path)
    answers = answer_prompts(model, tokenizer, follow.prompts, follow.answers)
    found = Answers(
        follow.prompts, answers, f"transformers {version('transformers')}, gguf {version('gguf')}"
    )
    found.details = {"dtype": arguments["dtype"], "architecture": family.architecture}
    found.details["rendered_equal"] = count_other_renderings(tokenizer, follow.prompts) == 0
    found.save_to(Path(arguments["folder"]))
    return {"prompts": len(answers), "class": type(model).__name__}
