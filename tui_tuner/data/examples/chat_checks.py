"""Check chats in preflight: missing stop tokens, and reasoning and more that a template leaves out."""

from __future__ import annotations

from tui_tuner.config.advice import Command, build_hint, write_setting
from tui_tuner.config.schema import RunConfig
from tui_tuner.data.examples.record_encoder import RowFacts
from tui_tuner.data.preflight import Problem, make_noted_problems
from tui_tuner.locales import N_, _, _n

LOOK = N_("Look at one with {command}.", command=Command("`tui-tuner data mask`", N_("the data screen")))


def check_stop_tokens(facts: RowFacts, config: RunConfig) -> list[Problem]:
    """Check that answers end with a token that stops generation, or the model never learns to stop."""
    answers, stopped = facts.get_count("answers"), facts.get_count("stopped")
    rows = facts.get_count("unstopped"), facts.noted_rows("unstopped")
    # Cut answers lose their ends, so with `truncate` none of them may have a stop.
    if answers and not stopped and config.data.overlong != "truncate":
        return [
            Problem(
                "stop_token_untrained",
                "error",
                _("No answer ends with a stop token, so the model would never learn to stop."),
                build_hint(
                    N_(
                        "Use a chat template that ends answers with the tokenizer's eos: {command}.",
                        command=write_setting({"model.chat_template": "chatml"}),
                    )
                ),
                *rows,
            )
        ]
    # Only a warning, since the answers that have a stop teach the model to write it.
    if stopped < answers:
        return [
            Problem(
                "stop_token_missing",
                "warning",
                _(
                    "{unstopped:,} of {answers:,} answers end without a stop token: "
                    "this chat template writes it only after some turns.",
                    unstopped=answers - stopped,
                    answers=answers,
                ),
                "",
                *rows,
            )
        ]
    return []


def check_reasoning_kept(facts: RowFacts) -> list[Problem]:
    """Check how much reasoning the template leaves out, which is then not trained."""
    has, lost = facts.get_count("answers_reasoning"), facts.get_count("answers_reasoning_left_out")
    if not lost:
        return []
    rows = facts.get_count("reasoning_left_out"), facts.noted_rows("reasoning_left_out")
    # With all reasoning lost the run would be useless, so this is an error.
    if lost == has:
        return [
            Problem(
                "reasoning_left_out",
                "error",
                _n(
                    "The chat template does not write the reasoning of the {has:,} answer that has some, so "
                    "it would not be trained.",
                    "The chat template writes the reasoning of none of the {has:,} answers that have some, "
                    "so it would not be trained.",
                    has,
                    has=has,
                ),
                build_hint(
                    N_(
                        "Choose a template that writes it, such as {command}.",
                        command=write_setting({"model.chat_template": "qwen3"}),
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
                "earlier turns; it is not trained.",
                lost=lost,
                has=has,
            ),
            "",
            *rows,
        )
    ]


def check_chats(facts: RowFacts) -> list[Problem]:
    """List what may be intended, but should be looked at."""
    known = (
        (
            "roles",
            "roles_out_of_order",
            N_("{count:,} rows have roles out of order (one role twice, or an answer without a question)."),
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
                command=write_setting({"model.chat_template": "chatml"}),
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
            N_("{count:,} rows have their system message before the first question, as asked."),
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
            N_("{count:,} rows have answers whose text this chat template leaves out."),
            LOOK,
        ),
        (
            "prompt_differs",
            "prompt_differs",
            N_(
                "{count:,} rows have answers that do not follow this template's generation prompt (such as "
                "one that opens <think>), so the model will be prompted differently from how it is trained."
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
            "weight_unused",
            "weight_unused",
            N_("{count:,} rows have a weight for a turn that is no answer, which changes nothing."),
            N_("Weigh answers, or whole rows with data.loss_weight."),
        ),
        (
            "markers",
            "special_tokens_in_text",
            N_("{count:,} rows have special tokens in their text; they are read as the real ones."),
            N_("Clean the rows if that is not intended."),
        ),
    )
    return [
        problem
        for name, code, what, hint in known
        for problem in make_noted_problems(
            facts, name, code, "warning", _(what, count=facts.get_count(name)), build_hint(hint)
        )
    ]
