"""The section `data`: data sets, their formats and their clean-up."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tui_tuner.config.kinds.formats import RECORD_FORMATS
from tui_tuner.config.sections.field_options import Auto, Section, declare_option, known_word
from tui_tuner.locales import N_

MOST_CHARACTERS = 1_000_000_000  # upper limit for lengths of a row, which never reach a gigabyte


class Source(Section):
    """One of several data sets, with its share."""

    path: str = declare_option("", N_("File, folder, glob or hub data set."), min_length=1)
    weight: float = declare_option(
        1.0, N_("How often its rows are used relative to the other sources."), gt=0, le=1_000_000
    )
    format: Annotated[str, known_word(RECORD_FORMATS, N_("unknown format {value!r}; known are {names}"))] = (
        declare_option("auto", N_("Record format of this source."))
    )


class CleaningSection(Section):
    """Optional clean-up steps; each counts its effect in the row ledger."""

    exact_duplicates: bool = declare_option(False, N_("Drop rows that repeat another exactly."))
    near_duplicates: float | None = declare_option(
        None,
        N_("Drop rows at least this similar to an earlier row (Jaccard similarity, estimated by MinHash)."),
        gt=0,
        le=1,
        advanced=True,
    )
    refusals: bool = declare_option(
        False, N_("Drop rows whose answer refuses or mentions being a language model.")
    )
    html: Literal["keep", "text", "markdown"] = declare_option(
        "keep", N_("What to do with HTML inside fields.")
    )
    control_characters: bool = declare_option(False, N_("Remove control characters."))
    min_answer: int = declare_option(
        0, N_("Drop rows whose answer is shorter than this."), unit=N_("characters"), ge=0, le=MOST_CHARACTERS
    )
    languages: list[str] | None = declare_option(
        None, N_("Keep only rows in these languages (ISO codes)."), advanced=True
    )
    min_characters: int | None = declare_option(
        None,
        N_("Drop rows shorter than this."),
        unit=N_("characters"),
        ge=0,
        le=MOST_CHARACTERS,
        advanced=True,
    )
    max_characters: int | None = declare_option(
        None,
        N_("Drop rows longer than this."),
        unit=N_("characters"),
        ge=1,
        le=MOST_CHARACTERS,
        advanced=True,
    )
    personal_data: bool = declare_option(False, N_("Report e-mail addresses and phone numbers in rows."))
    phrases: str | None = declare_option(None, N_("YAML file with more refusal phrases."), advanced=True)


class DataSection(Section):
    """Data sets, and how their rows become tokens."""

    path: str | list[str | Source] = declare_option(
        "demo",
        N_("File, folder, glob pattern, hub data set, a list of these, or `demo`."),
        N_(
            "JSONL, JSON, CSV, Parquet, plain text and more; the record format is recognised and shown. "
            "demo means example rows inside this package, different for each task."
        ),
    )
    format: Annotated[str, known_word(RECORD_FORMATS, N_("unknown format {value!r}; known are {names}"))] = (
        declare_option(
            "auto",
            N_("Record format."),
            N_("auto recognises it and reports how certain that is."),
            choices=RECORD_FORMATS,
        )
    )
    columns: dict[str, str] | None = declare_option(
        None, N_("Role of each column, such as {prompt: question, response: answer}."), advanced=True
    )
    names: list[str] | None = declare_option(
        None,
        N_("Names of the tags if rows contain them as numbers, in order."),
        N_("The first name belongs to 0, as in [O, B-PER, I-PER]. Parquet files often contain the names."),
        advanced=True,
    )
    field: str | None = declare_option(
        None,
        N_("Key (JSON), table (SQL) or member (zip) that contains the rows, if a file has several."),
        advanced=True,
    )
    encoding: str | None = declare_option(
        None, N_("Text encoding of the files, if it is recognised wrongly."), advanced=True
    )
    header: Literal["ask", "present", "absent"] = declare_option(
        "ask",
        N_("Whether the first line of a CSV file names its columns; ask asks only if that is unclear."),
        advanced=True,
    )
    system: str | None = declare_option(None, N_("System message for rows without one."), advanced=True)
    max_length: int = declare_option(
        1024,
        N_("Maximum sequence length."),
        N_("Longer texts are split or truncated, and counted. A larger value needs more memory."),
        unit=N_("tokens"),
        ge=8,
        le=10_000_000,
    )
    overlong: Literal["split", "truncate", "drop"] = declare_option(
        "split",
        N_("What to do with a row longer than max_length."),
        N_(
            "split cuts a chat between turns, never inside an answer; what still does not fit is dropped "
            "and counted. For tags and for answers inside a text it reads overlapping windows; a text with "
            "a class loses its end. truncate cuts off the end, including the stop token."
        ),
    )
    stride: int = declare_option(
        128,
        N_("Overlap of two windows of a long text."),
        N_(
            "A text longer than max_length is read in overlapping windows, so that words at the edge of "
            "one window appear inside the next, with this much context."
        ),
        unit=N_("tokens"),
        ge=0,
        le=1_000_000,
    )
    problem: Literal["auto", "single", "multi", "regression"] = declare_option(
        "auto",
        N_("Kind of label."),
        N_(
            "single: exactly one class. multi: any number of classes at once. regression: a number. auto "
            "decides from the labels."
        ),
    )
    label_separator: str | None = declare_option(
        None,
        N_("Separator between several classes in one label text, such as ; or |."),
        N_("Without it, the whole text of a label is one class."),
        advanced=True,
    )
    train_on: Literal["all_answers", "last_answer", "everything"] = declare_option(
        "all_answers",
        N_("Which parts of a chat are trained."),
        N_("everything also trains prompts, system messages and tool results, as pretraining does."),
        advanced=True,
    )
    system_turns: Literal["keep", "first_user", "drop"] = declare_option(
        "keep",
        N_("What to do with system messages."),
        N_(
            "Some chat templates reject them: first_user puts their text before the first question, drop "
            "leaves it out; both are counted."
        ),
        advanced=True,
    )
    media: Literal["drop", "ignore"] = declare_option(
        "drop",
        N_("What to do with rows that contain an image, audio or video."),
        N_("ignore trains their text alone, even if it refers to the missing media."),
        advanced=True,
    )
    packing: bool | Auto = declare_option(
        "auto",
        N_("Put several rows into one sequence, without padding; they do not see each other."),
        N_(
            "Faster, with exact results: every row keeps its own positions and attention. auto turns it "
            "off for models that cannot keep rows apart."
        ),
    )
    validation: float | str | None = declare_option(
        0.05,
        N_("Share of the rows to hold out for validation, or a file with such rows."),
        N_(
            "Held-out rows are never trained on; the loss on them shows whether the model learns or "
            "memorises."
        ),
        ge=0,
        lt=1,
    )
    limit: int | None = declare_option(
        None, N_("Use at most this many rows."), unit=N_("rows"), ge=1, le=10**12
    )
    pick: Literal["first", "random"] = declare_option(
        "first",
        N_("Which rows data.limit takes."),
        N_(
            "first stops reading after them. random reads the whole file and draws rows from all of it, "
            "with data.seed: use it for files that are sorted, for example by class."
        ),
        advanced=True,
    )
    max_dropped: float = declare_option(
        0.01,
        N_("Share of rows that may be dropped; above it the run stops and asks."),
        ge=0,
        le=1,
        advanced=True,
    )
    preflight: Literal["stop", "warn", "off"] = declare_option(
        "stop", N_("What to do about errors that are found before training."), advanced=True
    )
    seed: int = declare_option(
        42, N_("Seed for splitting and mixing rows."), ge=0, le=2**32 - 1, advanced=True
    )
    workers: int | Auto = declare_option(
        "auto",
        N_("Number of processes that tokenise; auto uses every CPU core."),
        ge=1,
        le=1024,
        advanced=True,
    )
    cleaning: CleaningSection = Field(default_factory=CleaningSection, description=N_("Clean-up of rows."))
