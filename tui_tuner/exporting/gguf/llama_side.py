"""The answers of a GGUF file by llama.cpp (the package llama-cpp-python); runs in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tui_tuner.exporting.parity.answers import NEW_TOKENS, Answers, PromptAnswer, read_answers
from tui_tuner.exporting.parity.prompts import Prompt

_ROOM = 64  # tokens of context beyond prompt and answers


def answer_with_llama(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Load a file with llama.cpp, answer the same prompts, and keep the answers.

    Args:
        arguments: As for `transformers_side.answer_with_gguf`.
    """
    import llama_cpp

    follow = read_answers(Path(arguments["follow"]))
    longest = max((len(one.ids) for one in follow.answers), default=0)
    model = llama_cpp.Llama(
        arguments["file"], n_ctx=2 * longest + 2 * NEW_TOKENS + _ROOM, logits_all=True, verbose=False
    )
    answers = [
        _answer_one(model, prompt, one) for prompt, one in zip(follow.prompts, follow.answers, strict=True)
    ]
    found = Answers(follow.prompts, answers, f"llama-cpp-python {llama_cpp.__version__}")
    found.save_to(Path(arguments["folder"]))
    return {"prompts": len(answers)}


def _answer_one(model: Any, prompt: Prompt, other: PromptAnswer) -> PromptAnswer:
    import torch

    # special tokens in the text are tokens; those that the tokenizer adds are added as the file says
    ids = [int(one) for one in model.tokenize(prompt.text.encode(), add_bos=prompt.special, special=True)]
    greedy = _continue_greedily(model, ids)
    answer = other.greedy
    scores = _score(model, [*other.ids, *answer])
    logits = torch.tensor(scores[len(other.ids) - 1 : len(other.ids) - 1 + max(1, len(answer))])
    text = model.detokenize(greedy).decode(errors="replace")
    return PromptAnswer(ids, greedy, text, logits.float())


def _continue_greedily(model: Any, ids: Sequence[int]) -> list[int]:
    """Return the most likely tokens up to one that ends generation by the file, which is the last."""
    import llama_cpp

    vocabulary = llama_cpp.llama_model_get_vocab(model.model)
    model.reset()
    model.eval(list(ids))
    made: list[int] = []
    while len(made) < NEW_TOKENS:
        token = int(model.scores[model.n_tokens - 1].argmax())
        made.append(token)
        if llama_cpp.llama_vocab_is_eog(vocabulary, token):
            break
        model.eval([token])
    return made


def _score(model: Any, ids: Sequence[int]) -> Any:
    model.reset()
    model.eval(list(ids))
    return model.scores[: len(ids)].copy()
