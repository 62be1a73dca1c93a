"""What preflight says of chats: stops that are missing, reasoning and more that a template leaves out."""

from __future__ import annotations

from tui_tuner.config.advice import Command, advise, setting
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.examples.encoder import Facts
from tui_tuner.data.preflight import Problem, noted
from tui_tuner.locales import N_, _, _n

LOOK = N_("Look at one with {command}.", command=Command("`tui-tuner data mask`", N_("the data screen")))


def check_stops(facts: Facts, config: RunConfig) -> list[Problem]:
    """Answers must end with a token that stops generation, or the model never learns to stop."""
    answers, stopped = facts.count("answers"), facts.count("stopped")
    rows = facts.count("unstopped"), facts.rows("unstopped")
    if answers and not stopped and config.data.overlong != "truncate":
        return [
            Problem(
                "stop_token_untrained",
                "error",
                _("No answer ends with a stop token, so the model would never learn to stop."),
                advise(
                    N_(
                        "Use a chat template that ends answers with the tokenizer's eos: {command}.",
                        command=setting({"model.chat_template": "chatml"}),
                    )
                ),
                *rows,
            )
        ]
    if stopped < answers:
        return [
            Problem(
                "stop_token_missing",
                "warning",
                _(
                    "{unstopped:,} of {answers:,} answers end without a stop token: "
                    "this chat template writes it only behind some turns.",
                    unstopped=answers - stopped,
                    answers=answers,
                ),
                "",
                *rows,
            )
        ]
    return []


def check_reasoning(facts: Facts) -> list[Problem]:
    """Reasoning that the template does not write is not learnt; where that is all of it, the run would be in
    vain."""
    has, lost = facts.count("answers_reasoning"), facts.count("answers_reasoning_left_out")
    if not lost:
        return []
    rows = facts.count("reasoning_left_out"), facts.rows("reasoning_left_out")
    if lost == has:
        return [
            Problem(
                "reasoning_left_out",
                "error",
                _n(
                    "The chat template writes the reasoning of none of the {has:,} answer that has some, so "
                    "it would not be learnt.",
                    "The chat template writes the reasoning of none of the {has:,} answers that have some, "
                    "so it would not be learnt.",
                    has,
                    has=has,
                ),
                advise(
                    N_(
                        "Choose a template that writes it, such as {command}.",
                        command=setting({"model.chat_template": "qwen3"}),
                    )
                ),
                *rows,
            )
        ]
    return [
        Problem(
            "reasoning_left_out",
            "warning",
            _(
                "The chat template leaves out the reasoning of {lost:,} of {has:,} answers, as most do in "
                "earlier turns; it is not learnt.",
                lost=lost,
                has=has,
            ),
            "",
            *rows,
        )
    ]


def check_chats(facts: Facts) -> list[Problem]:
    """What may be meant, and should be seen."""
    known = (
        (
            "roles",
            "roles_out_of_order",
            N_("{count:,} rows have roles out of order (the same side twice, or an answer to nobody)."),
            "",
        ),
        (
            "tools_left_out",
            "tools_left_out",
            N_(
                "{count:,} rows have tools that this chat template does not write, so the model never sees "
                "them."
            ),
            N_(
                "Choose a model whose template knows tools, or {command}.",
                command=setting({"model.chat_template": "chatml"}),
            ),
        ),
        (
            "system_left_out",
            "system_left_out",
            N_("{count:,} rows have a system message that this chat template does not write as it is."),
            "",
        ),
        (
            "system_moved",
            "system_moved",
            N_("{count:,} rows have their system message in front of the first question, as asked."),
            "",
        ),
        (
            "system_dropped",
            "system_dropped",
            N_("{count:,} rows are trained without their system message, as asked."),
            "",
        ),
        (
            "content_left_out",
            "content_left_out",
            N_("{count:,} rows have answers of which this chat template leaves out the text."),
            LOOK,
        ),
        (
            "prompt_differs",
            "prompt_differs",
            N_(
                "{count:,} rows have answers behind another text than this template's generation prompt "
                "(such as one that opens <think>), so the model will be asked otherwise than it is trained."
            ),
            LOOK,
        ),
        (
            "stop_added",
            "stop_added",
            N_(
                "{count:,} rows end without a stop token in this chat template; the one that the model stops "
                "at was added."
            ),
            "",
        ),
        (
            "markers",
            "special_tokens_in_text",
            N_("{count:,} rows have special tokens inside what was written; they are read as the real ones."),
            N_("Clean the rows if that is not meant."),
        ),
    )
    return [
        problem
        for name, code, what, hint in known
        for problem in noted(facts, name, code, "warning", _(what, count=facts.count(name)), advise(hint))
    ]
