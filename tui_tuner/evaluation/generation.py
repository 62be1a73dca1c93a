"""Generate answers from a model in batches, greedy or sampled, ended by any stop token the model knows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tui_tuner.data.chat.template import render_chat
from tui_tuner.evaluation.samples import Progress
from tui_tuner.locales import _
from tui_tuner.methods.attached import count_virtual_tokens
from tui_tuner.models.evaluation_mode import use_evaluation_mode
from tui_tuner.models.out_of_memory import free_attempt_memory, is_out_of_memory

LEAST_TOKENS = 8  # shortest answer tried after memory ran out

_WORD_SECONDS = 0.5  # in a batch, between two calls of `on_progress`
# Marks the end of an assistant turn in a rendered template; no tokenizer merges it with the next text.
_PROBE = "\u2042\u2042"


@dataclass(frozen=True)
class GeneratedAnswer:
    """One generated answer.

    Args:
        ids: Its tokens, without the stop token that ended it.
        text: The tokens as text, without special tokens.
        stopped: Whether a stop token ended it; False at the length limit.
        note: Why there is no answer, or only a shorter one; empty otherwise.
        short_of_memory: There is no answer or a shorter one because memory ran out; it does not describe the
            model.
    """

    ids: list[int] = field(default_factory=list)
    text: str = ""
    stopped: bool = False
    note: str = ""
    short_of_memory: bool = False


@dataclass(frozen=True)
class SamplingSettings:
    """Settings for sampling tokens. The result for a prompt does not depend on the other prompts.

    Args:
        temperature: Above 0.
        seeds: A random seed for each prompt.
    """

    temperature: float
    seeds: Sequence[int]

    def for_prompts(self, places: Sequence[int]) -> SamplingSettings:
        """Return the settings for some of the prompts."""
        return SamplingSettings(self.temperature, [self.seeds[place] for place in places])


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
    """Answer prompts, in the given order: greedily, unless `drawing` is given.

    Prompts of similar length are answered together, padded on the left. If memory runs out, the batch is
    halved down to one prompt at a time, then the answer may have half the tokens, and in the end it is
    empty. The model's mode (train or eval) is restored.

    Args:
        model: A causal language model of transformers, with or without adapters.
        prompts: Token ids, special tokens and generation prompt included.
        max_new_tokens: Longest answer; less if the model's context ends earlier.
        on_progress: Called with (done, total) prompts after each batch, and sometimes during one with a note
            on the tokens written; an exception from it ends the generation.
        on_halved: Called with the new batch size after memory ran out.
    """
    stops = sorted(find_stop_tokens(model, tokenizer))
    answers: dict[int, GeneratedAnswer] = {
        index: GeneratedAnswer(note=_("the prompt is empty"))
        for index, prompt in enumerate(prompts)
        if not prompt
    }
    virtual = count_virtual_tokens(model)
    context = find_context_length(model)
    context = None if context is None else context - virtual
    for index, prompt in enumerate(prompts):
        if context is not None and len(prompt) >= context:
            answers[index] = GeneratedAnswer(
                note=_("the prompt fills the context of {context} tokens", context=context)
            )
    todo = sorted((i for i in range(len(prompts)) if i not in answers), key=lambda i: len(prompts[i]))
    last = time.monotonic()

    def at_token(written: Any, most: int) -> None:
        """Report progress; `written` is [answers, tokens so far] on the device."""
        nonlocal last
        # Reading from the device waits for it, so it happens twice a second and not for each token.
        if on_progress is not None and time.monotonic() - last > _WORD_SECONDS:
            last = time.monotonic()
            ended = count_ended_answers(written, stops)
            note = _("token {tokens:,} of at most {most:,}", tokens=written.shape[1], most=most)
            on_progress(len(answers) + ended, len(prompts), note)

    with use_evaluation_mode(model):
        while todo:
            batch = todo[:batch_size]
            if virtual:
                # Padding would stand between the virtual tokens and the text, which the model never saw in
                # training.
                batch = [i for i in batch if len(prompts[i]) == len(prompts[batch[0]])]
            chosen = [prompts[i] for i in batch]
            drawn = None if drawing is None else drawing.for_prompts(batch)
            try:
                found = _answer_batch(
                    model, tokenizer, chosen, max_new_tokens, stops, context, at_token, drawn
                )
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
                found = [_answer_shorter(model, tokenizer, chosen, most, stops, context, at_token, drawn)]
            answers.update(zip(batch, found, strict=True))
            todo = todo[len(batch) :]
            if on_progress is not None:
                on_progress(len(answers), len(prompts))
    return [answers[index] for index in range(len(prompts))]


def count_ended_answers(written: Any, stops: Sequence[int]) -> int:
    """Count the answers [answers, tokens] that have reached a stop token."""
    import torch

    if not stops:
        return 0
    return int(torch.isin(written, torch.tensor(stops, device=written.device)).any(1).sum())


def find_stop_tokens(model: Any, tokenizer: Any) -> set[int]:
    """Return the ids of all tokens that end an answer.

    These are the stop tokens of the model's generation config and config, the tokenizer's eos token, and the
    special token that the chat template writes after an assistant's text (`<|im_end|>`, `<|eot_id|>`,
    `<end_of_turn>`…).
    """
    found: set[int] = set()
    configs = (getattr(model, "generation_config", None), getattr(model, "config", None), tokenizer)
    for holder in configs:
        value = getattr(holder, "eos_token_id", None)
        found.update([value] if isinstance(value, int) else value or [])
    turn_end = find_template_stop_token(tokenizer)
    return found if turn_end is None else found | {turn_end}


def find_template_stop_token(tokenizer: Any) -> int | None:
    """Return the id of the special token right after an assistant's text in the chat template, or None."""
    if not getattr(tokenizer, "chat_template", None):
        return None
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": _PROBE}]
    try:
        rendered = render_chat(tokenizer, messages)
    # A template is a program: it may reject these two turns with any exception, and then names no stop token.
    except Exception:
        return None
    _unused, probe, after = rendered.rpartition(_PROBE)
    if not probe:
        return None
    ids = tokenizer.encode(after.lstrip(), add_special_tokens=False)
    special = set(tokenizer.all_special_ids) | set(getattr(tokenizer, "added_tokens_decoder", {}))
    return ids[0] if ids and ids[0] in special else None


def find_context_length(model: Any) -> int | None:
    """Return the longest sequence of the model in tokens, as its config states it, or None."""
    config: Any = getattr(model, "config", None)
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    for name in ("max_position_embeddings", "n_positions"):
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 0:
            return value
    return None


def _answer_batch(
    model: Any,
    tokenizer: Any,
    prompts: list[Sequence[int]],
    max_new_tokens: int,
    stops: list[int],
    context: int | None,
    at_token: Callable[[Any, int], None],
    drawing: SamplingSettings | None = None,
) -> list[GeneratedAnswer]:
    import torch
    from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

    class Look(StoppingCriteria):  # type: ignore[misc]
        """Calls `at_token` for each token. It never stops by itself, but an exception does."""

        def __call__(self, input_ids: Any, scores: Any, **_more: Any) -> Any:
            at_token(input_ids[:, longest:], room)
            return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)

    longest = max(map(len, prompts))
    room = max_new_tokens if context is None else min(max_new_tokens, context - longest)
    pad = tokenizer.pad_token_id
    # Any id will do, as the mask hides it; a tokenizer without one must not fail here.
    pad = pad if pad is not None else (stops[0] if stops else 0)
    ids = [[pad] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    seen = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    device = model.get_input_embeddings().weight.device
    # Every setting that could make it anything but greedy is set here, because transformers fills in the
    # others from the model's own generation config.
    config = GenerationConfig(
        do_sample=False,
        num_beams=1,
        temperature=1.0,
        top_p=1.0,
        top_k=50,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        min_new_tokens=0,
        max_new_tokens=room,
        max_length=None,
        eos_token_id=stops or None,
        pad_token_id=pad,
        use_cache=True,
    )
    with torch.no_grad():
        output = model.generate(
            input_ids=torch.tensor(ids, device=device),
            attention_mask=torch.tensor(seen, device=device),
            generation_config=config,
            stopping_criteria=StoppingCriteriaList([Look()]),
            **({} if drawing is None else {"logits_processor": _make_noise(drawing, device)}),
        )
    note = (
        ""
        if room == max_new_tokens
        else _("cut short: the context of {context} tokens is full", context=context)
    )
    return [_cut_answer(row, tokenizer, set(stops), note) for row in output[:, longest:].tolist()]


def _make_noise(drawing: SamplingSettings, device: Any) -> Any:
    """Return processors that make the likeliest token a sampled one: Gumbel noise from each row's own seed.

    The maximum of logits / temperature - log(E), with E of the exponential distribution, is distributed as
    the softmax of logits / temperature (Gumbel's trick).
    """
    import torch
    from transformers import LogitsProcessor, LogitsProcessorList

    generators = [torch.Generator(device).manual_seed(seed) for seed in drawing.seeds]

    class Noise(LogitsProcessor):  # type: ignore[misc]
        def __call__(self, input_ids: Any, scores: Any) -> Any:
            noise = torch.empty_like(scores, dtype=torch.float32)
            for row, generator in zip(noise, generators, strict=True):
                row.exponential_(generator=generator)
            # The exponential distribution can return 0 in float32, whose logarithm would be -inf.
            least = torch.finfo(torch.float32).tiny
            return scores.float() / drawing.temperature - noise.clamp_min_(least).log_()

    return LogitsProcessorList([Noise()])


def _answer_shorter(
    model: Any,
    tokenizer: Any,
    prompts: list[Sequence[int]],
    max_new_tokens: int,
    stops: list[int],
    context: int | None,
    at_token: Callable[[Any, int], None],
    drawing: SamplingSettings | None = None,
) -> GeneratedAnswer:
    """Return a shorter answer to one prompt after memory ran out; an empty one if nothing fits."""
    while max_new_tokens >= LEAST_TOKENS:
        try:
            found = _answer_batch(
                model, tokenizer, prompts, max_new_tokens, stops, context, at_token, drawing
            )[0]
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


def _cut_answer(ids: list[int], tokenizer: Any, stops: set[int], note: str) -> GeneratedAnswer:
    end = next((place for place, token in enumerate(ids) if token in stops), None)
    kept = ids if end is None else ids[:end]
    text = tokenizer.decode(kept, skip_special_tokens=True).strip()
    return GeneratedAnswer(kept, text, end is not None, note if end is None else "")
