"""The section `data`: data sets, their formats, tokenisation and clean-up."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tui_tuner.config.kinds.formats import RECORD_FORMATS
from tui_tuner.config.sections.field_options import Auto, Section, accept_known_words, declare_option
from tui_tuner.locales import N_

MOST_CHARACTERS = 1_000_000_000  # of a row: one of a gigabyte is never held


class Source(Section):
    """One of several data sets, with its weight in the mix."""

    path: str = declare_option("", N_("File, folder, glob or hub data set."), min_length=1)
    weight: float = declare_option(
        1.0, N_("How often its rows are used, relative to the others."), gt=0, le=1_000_000
    )
    format: Annotated[
        str, accept_known_words(RECORD_FORMATS, N_("unknown format {value!r}; known are {names}"))
    ] = declare_option("auto", N_("Record format of this source."))


class CleaningSection(Section):
    """Optional clean-up; each step counts the rows it changed or dropped in the row ledger."""

    exact_duplicates: bool = declare_option(False, N_("Drop exact copies of earlier rows."))
    near_duplicates: float | None = declare_option(
        None,
        N_("Drop rows this similar to an earlier one (MinHash estimate of Jaccard similarity)."),
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
    personal_data: bool = declare_option(False, N_("Flag e-mail addresses and phone numbers."))
    phrases: str | None = declare_option(None, N_("YAML file with more refusal phrases."), advanced=True)


class MaskingSection(Section):
    """Which tokens of a text are hidden, for the model to guess."""

    share: float = declare_option(
        0.15,
        N_("Share of the tokens that the model has to guess."),
        N_(
            "Of these, 80 % are replaced by the mask token, 10 % by a random token, and 10 % stay as they "
            "are, as for BERT. Each epoch chooses others; every evaluation asks for the same tokens of "
            "the held-out rows. 0.15 is BERT's share; larger models also learn well with up to 0.4."
        ),
        gt=0,
        lt=1,
    )
    whole_words: bool = declare_option(
        False,
        N_("Choose whole words: all tokens of a word, or none."),
        N_(
            "Part of a word gives the rest of it away, so guessing whole words is harder and teaches more. "
            "The share of tokens stays the same."
        ),
    )


class DataSection(Section):
    """The training data, and how rows become tokens."""

    path: str | list[str | Source] = declare_option(
        "demo",
        N_("File, folder, glob, hub data set, a list of them, or `demo`."),
        N_(
            "JSONL, JSON, CSV, Parquet, plain text and more; the record format is detected and shown. "
            "demo stands for sample rows inside this package, different for each task."
        ),
    )
    format: Annotated[
        str, accept_known_words(RECORD_FORMATS, N_("unknown format {value!r}; known are {names}"))
    ] = declare_option(
        "auto",
        N_("Record format."),
        N_("auto detects it and reports how certain it is."),
        choices=RECORD_FORMATS,
    )
    columns: dict[str, str] | None = declare_option(
        None, N_("Roles of the columns, such as {prompt: question, response: answer}."), advanced=True
    )
    names: list[str] | None = declare_option(
        None,
        N_("Names of the tags, in order, if the rows give tags as numbers."),
        N_(
            "The first name belongs to 0, as in [O, B-PER, I-PER]. Parquet files often contain the names "
            "already."
        ),
        advanced=True,
    )
    field: str | None = declare_option(
        None,
        N_("Key (JSON), table (SQL) or member (zip) that holds the rows, if a file has several."),
        advanced=True,
    )
    encoding: str | None = declare_option(
        None, N_("Text encoding of the files, if it is not detected correctly."), advanced=True
    )
    header: Literal["ask", "present", "absent"] = declare_option(
        "ask",
        N_("First line of a CSV: present if it names the columns, absent if not; ask if it is unclear."),
        advanced=True,
    )
    system: str | None = declare_option(None, N_("System message for rows without one."), advanced=True)
    max_length: int = declare_option(
        1024,
        N_("Longest sequence."),
        N_("Longer texts are split or cut, and counted. Memory use grows with this value."),
        unit=N_("tokens"),
        ge=8,
        le=10_000_000,
    )
    max_source: int = declare_option(
        512,
        N_("Longest source: the text that is read."),
        N_("Longer sources are cut at their end, and counted; data.overlong drop leaves them out."),
        unit=N_("tokens"),
        ge=4,
        le=1_000_000,
    )
    max_target: int = declare_option(
        128,
        N_("Longest target: the text to write."),
        N_("Longer targets are cut at their end, and counted; data.overlong drop leaves them out."),
        unit=N_("tokens"),
        ge=2,
        le=1_000_000,
    )
    prefix: str | None = declare_option(
        None,
        N_("Text before each source, such as `summarize: `."),
        N_("T5 learned several tasks at once, each with its own words there. It is part of data.max_source."),
    )
    source_language: str | None = declare_option(
        None,
        N_("Language of the sources, as the tokenizer names it: en_XX, eng_Latn, en."),
        N_("For models that translate between many languages: mBART, NLLB, M2M100. Others need none."),
        advanced=True,
    )
    target_language: str | None = declare_option(
        None,
        N_("Language of the targets, as the tokenizer names it: de_DE, deu_Latn, de."),
        N_("The model begins every answer with the token of this language."),
        advanced=True,
    )
    overlong: Literal["split", "truncate", "drop"] = declare_option(
        "split",
        N_("What to do with a row longer than max_length."),
        N_(
            "split cuts a chat between turns, never inside an answer; whatever still does not fit is "
            "dropped and counted. For tags and extracted answers, the text is read in windows; a text "
            "with a class loses its end. truncate cuts off the end, including the stop token. A source or a "
            "target that is too long loses its end with either of them, and keeps its stop token."
        ),
    )
    stride: int = declare_option(
        128,
        N_("Tokens that neighbouring windows of a long text share."),
        N_(
            "A text longer than max_length is read in windows. A word at the edge of one window is "
            "inside the next, with this much context around it."
        ),
        unit=N_("tokens"),
        ge=0,
        le=1_000_000,
    )
    problem: Literal["auto", "single", "multi", "regression"] = declare_option(
        "auto",
        N_("Type of the labels."),
        N_(
            "single: one class out of several; multi: any number of classes at once; regression: a "
            "number. auto decides from the labels."
        ),
    )
    label_separator: str | None = declare_option(
        None,
        N_("Separator between several classes in a text label, such as ; or |."),
        N_("Without it, such a label counts as a single class."),
        advanced=True,
    )
    train_on: Literal["all_answers", "last_answer", "everything"] = declare_option(
        "all_answers",
        N_("Part of each chat that is trained."),
        N_(
            "everything also trains prompts, system messages, tool results and the markers of the chat "
            "template, as in pretraining: every token but the first."
        ),
        advanced=True,
    )
    loss_weight: str | None = declare_option(
        None,
        N_("Column with a number for each row: how much it counts in training."),
        N_(
            "A row with 2 counts as if it stood twice in its batch, one with 0.5 half as much; rows with 0 "
            "are not trained, and an empty cell counts as 1. Messages may have a key weight too: both are "
            "multiplied. The loss on held-out rows counts them in the same way."
        ),
        min_length=1,
        advanced=True,
    )
    system_turns: Literal["keep", "first_user", "drop"] = declare_option(
        "keep",
        N_("What to do with system messages."),
        N_(
            "Some chat templates do not accept them: first_user puts the text before the first question, "
            "drop leaves it out; both are counted."
        ),
        advanced=True,
    )
    media: Literal["drop", "ignore"] = declare_option(
        "drop",
        N_("What to do with rows that contain images, audio or video."),
        N_("ignore trains on their text alone, without the media that it refers to."),
        advanced=True,
    )
    packing: bool | Auto = declare_option(
        "auto",
        N_("Pack several rows into one sequence, without padding; they do not attend to each other."),
        N_(
            "Faster, and exact: every row keeps its own positions and attention. auto turns it off for "
            "models that cannot keep rows apart."
        ),
    )
    validation: float | str | None = declare_option(
        0.05,
        N_("Share of the rows to hold out, or a file of held-out rows."),
        N_("The model is never trained on held-out rows; the loss on them tells learning from memorising."),
        ge=0,
        lt=1,
    )
    limit: int | None = declare_option(
        None, N_("Use at most this many rows."), unit=N_("rows"), ge=1, le=10**12
    )
    pick: Literal["first", "random"] = declare_option(
        "first",
        N_("Which rows data.limit selects."),
        N_(
            "first stops reading at the limit. random reads everything and draws rows from the whole "
            "file, using data.seed: for files that are sorted, for example by class."
        ),
        advanced=True,
    )
    max_dropped: float = declare_option(
        0.01,
        N_("Share of rows that may be dropped before the run stops and asks."),
        ge=0,
        le=1,
        advanced=True,
    )
    preflight: Literal["stop", "warn", "off"] = declare_option(
        "stop", N_("What to do about errors found before training."), advanced=True
    )
    seed: int = declare_option(
        42, N_("Random seed for the held-out split and for mixing."), ge=0, le=2**32 - 1, advanced=True
    )
    workers: int | Auto = declare_option(
        "auto", N_("Number of tokenising processes; auto uses every core."), ge=1, le=1024, advanced=True
    )
    masking: MaskingSection = Field(
        default_factory=MaskingSection, description=N_("Hidden tokens, for the model to guess.")
    )
    cleaning: CleaningSection = Field(default_factory=CleaningSection, description=N_("Clean-up of rows."))

    def sum_both_sides(self) -> DataSection:
        """Return the section with `max_length` for a source and a target at their limits."""
        return self.model_copy(update={"max_length": self.max_source + self.max_target})
