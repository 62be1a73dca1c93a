"""What is learnt from: data sets, their formats and their clean-up."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tui_tuner.config.kinds import RECORD_FORMATS
from tui_tuner.config.sections.base import Auto, Section, known, option
from tui_tuner.locales import N_

MOST_CHARACTERS = 1_000_000_000  # of a row: one of a gigabyte is never held


class Source(Section):
    """One data set of several, with its share."""

    path: str = option("", N_("File, folder, glob or hub data set."), min_length=1)
    weight: float = option(
        1.0, N_("How often its rows are used, relative to the others."), gt=0, le=1_000_000
    )
    format: Annotated[str, known(RECORD_FORMATS, N_("unknown format {value!r}; known are {names}"))] = option(
        "auto", N_("Record format of this source.")
    )


class CleaningSection(Section):
    """Optional clean-up; each step counts what it did in the row ledger."""

    exact_duplicates: bool = option(False, N_("Drop rows that repeat another exactly."))
    near_duplicates: float | None = option(
        None,
        N_("Drop rows this similar to an earlier one (MinHash estimate of Jaccard)."),
        gt=0,
        le=1,
        advanced=True,
    )
    refusals: bool = option(False, N_("Drop answers that refuse or speak of being a language model."))
    html: Literal["keep", "text", "markdown"] = option("keep", N_("What to do with HTML inside fields."))
    control_characters: bool = option(False, N_("Remove control characters."))
    min_answer: int = option(
        0, N_("Drop rows whose answer is shorter."), unit=N_("characters"), ge=0, le=MOST_CHARACTERS
    )
    languages: list[str] | None = option(None, N_("Keep these languages only (ISO codes)."), advanced=True)
    min_characters: int | None = option(
        None, N_("Drop shorter rows."), unit=N_("characters"), ge=0, le=MOST_CHARACTERS, advanced=True
    )
    max_characters: int | None = option(
        None, N_("Drop longer rows."), unit=N_("characters"), ge=1, le=MOST_CHARACTERS, advanced=True
    )
    personal_data: bool = option(False, N_("Flag e-mail addresses and phone numbers."))
    phrases: str | None = option(None, N_("YAML file with more refusal phrases."), advanced=True)


class DataSection(Section):
    """What is learnt from, and how rows become tokens."""

    path: str | list[str | Source] = option(
        "demo",
        N_("File, folder, glob, hub data set, a list of them, or `demo`."),
        N_(
            "JSONL, JSON, CSV, Parquet, plain text and more; the record format is recognised and shown. demo "
            "is rows of this package, for each task its own."
        ),
    )
    format: Annotated[str, known(RECORD_FORMATS, N_("unknown format {value!r}; known are {names}"))] = option(
        "auto",
        N_("Record format."),
        N_("auto recognises it and says how sure it is."),
        choices=RECORD_FORMATS,
    )
    columns: dict[str, str] | None = option(
        None, N_("Which column is what, such as {prompt: question, response: answer}."), advanced=True
    )
    names: list[str] | None = option(
        None,
        N_("Names of the tags that rows give as numbers, in their order."),
        N_("The first is that of 0, such as [O, B-PER, I-PER]. Parquet files often say them themselves."),
        advanced=True,
    )
    field: str | None = option(
        None,
        N_("Key (JSON), table (SQL) or member (zip) that holds the rows, where a file has several."),
        advanced=True,
    )
    encoding: str | None = option(
        None, N_("Text encoding of the files, where it is not recognised right."), advanced=True
    )
    header: Literal["ask", "present", "absent"] = option(
        "ask",
        N_("Whether the first line of a CSV names its columns; asked where it is unsure."),
        advanced=True,
    )
    system: str | None = option(None, N_("System message for rows that have none."), advanced=True)
    max_length: int = option(
        1024,
        N_("Longest sequence."),
        N_("Longer texts are split or cut, and counted. Memory grows with it."),
        unit=N_("tokens"),
        ge=8,
        le=10_000_000,
    )
    overlong: Literal["split", "truncate", "drop"] = option(
        "split",
        N_("What to do with a row longer than max_length."),
        N_(
            "split cuts a chat between turns, never inside an answer; what still does not fit is dropped "
            "and counted. Tags and answers are then learnt in windows, and a text with a class loses its "
            "end. truncate cuts the end off, the stop token with it."
        ),
    )
    stride: int = option(
        128,
        N_("Tokens that two windows of a long text share."),
        N_(
            "A text longer than max_length is read in windows. What stands at the edge of one stands inside "
            "the next, with this much of its surroundings."
        ),
        unit=N_("tokens"),
        ge=0,
        le=1_000_000,
    )
    problem: Literal["auto", "single", "multi", "regression"] = option(
        "auto",
        N_("What a label is."),
        N_(
            "single is one class of several, multi any number of classes at once, regression a number. auto "
            "looks at the labels."
        ),
    )
    label_separator: str | None = option(
        None,
        N_("What stands between the classes in a label that is a text, such as ; or |."),
        N_("Without it such a label is one class, whatever it holds."),
        advanced=True,
    )
    train_on: Literal["all_answers", "last_answer", "everything"] = option(
        "all_answers",
        N_("Which part of a chat is trained."),
        N_("everything trains prompts, system messages and tool results too, as in pretraining."),
        advanced=True,
    )
    system_turns: Literal["keep", "first_user", "drop"] = option(
        "keep",
        N_("What to do with system messages."),
        N_(
            "Some chat templates refuse them: first_user puts the text in front of the first question, drop "
            "leaves it out, and both are counted."
        ),
        advanced=True,
    )
    media: Literal["drop", "ignore"] = option(
        "drop",
        N_("What to do with rows that need a picture, sound or film."),
        N_("ignore trains their text alone, without what it speaks of."),
        advanced=True,
    )
    packing: bool | Auto = option(
        "auto",
        N_("Put several rows side by side, without padding and without seeing each other."),
        N_(
            "Faster, and exact: every row keeps its own positions and attention. auto switches it off for "
            "models that cannot keep rows apart."
        ),
    )
    validation: float | str | None = option(
        0.05,
        N_("Share of the rows held out, or a file."),
        N_("Held-out rows are never trained; the loss on them tells learning from memorising."),
        ge=0,
        lt=1,
    )
    limit: int | None = option(None, N_("Use at most this many rows."), unit=N_("rows"), ge=1, le=10**12)
    pick: Literal["first", "random"] = option(
        "first",
        N_("Which rows data.limit takes."),
        N_(
            "first ends reading there. random reads everything and takes rows from anywhere, by data.seed: "
            "for files that are sorted, such as by class."
        ),
        advanced=True,
    )
    max_dropped: float = option(
        0.01,
        N_("Share of rows that may be dropped before the run stops and asks."),
        ge=0,
        le=1,
        advanced=True,
    )
    preflight: Literal["stop", "warn", "off"] = option(
        "stop", N_("What an error found before training does."), advanced=True
    )
    seed: int = option(42, N_("Seed of the split and of mixing."), ge=0, le=2**32 - 1, advanced=True)
    workers: int | Auto = option(
        "auto", N_("Processes that tokenise; auto uses every core."), ge=1, le=1024, advanced=True
    )
    cleaning: CleaningSection = Field(default_factory=CleaningSection, description=N_("Clean-up of rows."))
