"""Generate answers from a model in batches that fit into memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from tui_tuner.evaluation.samples import Progress
from tui_tuner.evaluation.writing.answers import GeneratedAnswer, SamplingSettings
from tui_tuner.evaluation.writing.causal_writer import CausalWriter
from tui_tuner.evaluation.writing.decoder_writer import DecoderWriter
from tui_tuner.evaluation.writing.stop_tokens import count_ended_answers
from tui_tuner.evaluation.writing.writer import AtToken, Writer
from tui_tuner.locales import _
from tui_tuner.models.evaluation_mode import use_evaluation_mode
from tui_tuner.models.out_of_memory import free_attempt_memory, is_out_of_memory

LEAST_TOKENS = 8  # shortest answer tried after memory ran out

_WORD_SECONDS = 0.5  # in a batch, between two calls of `on_progress`


def generate_answers(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    on_progress: Progress | None = None,
    batch_size: int = 16,
    drawing: SamplingSettings | None = None,
    on_halved: Callable[[int], None] | None = None,
) -> list[GeneratedAnswer]:
    """Answer prompts, in the given order.

    A causal model answers greedily, one with an encoder and a decoder by its own generation config, unless
    `drawing` is given. Prompts of similar length are answered together, padded. If memory runs out, the batch
    is halved down to one prompt at a time, then the answer may have half the tokens, and in the end it is
    empty. The model's mode (train or eval) is restored.

    Args:
        model: A model of transformers that writes, with or without adapters.
        prompts: Token ids, special tokens and generation prompt included; sources for an encoder.
        max_new_tokens: Longest answer; less if the model's context ends earlier.
        on_progress: Called with (done, total) prompts after each batch, and sometimes during one with a note
            on the tokens written; an exception from it ends the generation.
        on_halved: Called with the new batch size after memory ran out.
    """
    writer = choose_writer(model, tokenizer)
    answers: dict[int, GeneratedAnswer] = {}
    for index, prompt in enumerate(prompts):
        problem = writer.find_problem(prompt) if prompt else _("the prompt is empty")
        if problem:
            answers[index] = GeneratedAnswer(note=problem)
    todo = sorted((i for i in range(len(prompts)) if i not in answers), key=lambda i: len(prompts[i]))
    last = time.monotonic()
    at_once = 0

    def at_token(written: Any, most: int) -> None:
        """Report progress; `written` is [answers, tokens so far] on the device."""
        nonlocal last
        # Reading from the device waits for it, so it happens twice a second and not for each token.
        if on_progress is not None and time.monotonic() - last > _WORD_SECONDS:
            last = time.monotonic()
            # Of beams there are several for each answer, and which one stays is not known yet.
            ended = count_ended_answers(written, writer.stops) if len(written) == at_once else 0
            note = _("token {tokens:,} of at most {most:,}", tokens=written.shape[1], most=most)
            on_progress(len(answers) + ended, len(prompts), note)

    with use_evaluation_mode(model):
        while todo:
            batch = todo[:batch_size]
            if writer.virtual:
                # Padding would stand between the virtual tokens and the text, which the model never saw in
                # training.
                batch = [i for i in batch if len(prompts[i]) == len(prompts[batch[0]])]
            chosen, at_once = [prompts[i] for i in batch], len(batch)
            drawn = None if drawing is None else drawing.for_prompts(batch)
            try:
                found = writer.answer_batch(chosen, max_new_tokens, at_token, drawn)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                free_attempt_memory(error)
                if len(batch) > 1:
                    batch_size = len(batch) // 2
                    if on_halved is not None:
                        on_halved(batch_size)
                    continue
                most = max_new_tokens // 2
                found = [_answer_shorter(writer, chosen, most, at_token, drawn)]
            answers.update(zip(batch, found, strict=True))
            todo = todo[len(batch) :]
            if on_progress is not None:
                on_progress(len(answers), len(prompts))
    return [answers[index] for index in range(len(prompts))]


def choose_writer(model: Any, tokenizer: Any) -> Writer:
    """Return what writes the answers of a model."""
    encodes = getattr(model.config, "is_encoder_decoder", False)
    return (DecoderWriter if encodes else CausalWriter)(model, tokenizer)


def _answer_shorter(
    writer: Writer,
    prompts: list[Sequence[int]],
    max_new_tokens: int,
    at_token: AtToken,
    drawing: SamplingSettings | None = None,
) -> GeneratedAnswer:
    """Return a shorter answer to one prompt after memory ran out; an empty one if nothing fits."""
    while max_new_tokens >= LEAST_TOKENS:
        try:
            found = writer.answer_batch(prompts, max_new_tokens, at_token, drawing)[0]
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            free_attempt_memory(error)
            max_new_tokens //= 2
            continue
        if found.stopped:
            # It ended by itself, so nothing was cut.
            return found
        note = _("cut short after {tokens} tokens: memory ran out", tokens=max_new_tokens)
        return replace(found, note=note, short_of_memory=True)
    note = _("not answered: memory ran out with a prompt of {tokens} tokens", tokens=len(prompts[0]))
    return GeneratedAnswer(note=note, short_of_memory=True)
