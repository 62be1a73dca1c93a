"""A real catalogue: errors, plurals, stored reasons and help in another language, and English without."""

import json
import pickle
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tui_tuner.data.ledger import Ledger
from tui_tuner.data.records import Origin
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.errors import DataError
from tui_tuner.headless import format_ledger_event
from tui_tuner.locales import N_, _, _n, recall_sentence, recipe_of, use_language


def _compiled(messages: dict[str, str]) -> bytes:
    """The bytes of a catalogue file (.mo): header, two tables of lengths and offsets, the texts."""
    header = "Content-Type: text/plain; charset=UTF-8\nPlural-Forms: nplurals=2; plural=(n != 1);\n"
    pairs = sorted({"": header, **messages}.items())
    texts = [text.encode() for pair in zip(*pairs, strict=True) for text in pair]
    count, begin = len(pairs), 28
    offset = begin + 16 * count
    table = b""
    for text in texts:
        table += struct.pack("<2I", len(text), offset)
        offset += len(text) + 1
    head = struct.pack("<7I", 0x950412DE, 0, count, begin, begin + 8 * count, 0, offset)
    return head + table + b"".join(text + b"\0" for text in texts)


GERMAN = {
    "holds no rows.": "enthält keine Zeilen.",
    "there is no row {row:,}.": "Zeile {row:,} gibt es nicht.",
    "{count} run, {size}\0{count} runs, {size}": "{count} Lauf, {size}\0{count} Läufe, {size}",
    "shorter than {least} characters": "kürzer als {least} Zeichen",
    "the prompt is empty": "die Frage ist leer",
    "dropped": "verworfen",
    "rows: {count:,} {outcome}: {why}": "Zeilen: {count:,} {outcome}: {why}",
    "there is no column {name}.": "Spalte {nmae} gibt es nicht.",
    "Train what a config describes.": "Trainiert, was eine Konfiguration beschreibt.",
    "A YAML file, or the name of a preset.": "Eine YAML-Datei oder der Name einer Vorlage.",
}


@pytest.fixture
def german(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "de" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    (folder / "tui_tuner.mo").write_bytes(_compiled(GERMAN))
    use_language("de", folder=tmp_path)
    yield folder / "tui_tuner.mo"
    use_language()


def test_an_error_speaks_the_language(german: Path) -> None:
    assert str(DataError(_("holds no rows."), where="a.jsonl")) == "a.jsonl: enthält keine Zeilen."
    assert _("there is no row {row:,}.", row=12000) == "Zeile 12,000 gibt es nicht."
    assert _("not in the catalogue, {name}", name="yet") == "not in the catalogue, yet"
    assert _("") == ""


def test_a_plural_has_the_form_of_the_language(german: Path) -> None:
    said = [_n("{count} run, {size}", "{count} runs, {size}", n, count=n, size="1 KiB") for n in (0, 1, 2)]
    assert said == ["0 Läufe, 1 KiB", "1 Lauf, 1 KiB", "2 Läufe, 1 KiB"]
    use_language("xx")
    assert _n("{count} run", "{count} runs", 1, count=1) == "1 run"


def test_a_misspelt_place_or_a_damaged_catalogue_falls_back_to_english(german: Path, tmp_path: Path) -> None:
    assert _("there is no column {name}.", name="x") == "there is no column x."
    damages = (german.read_bytes()[:40], b"\xde\x12\x04\x95" + b"\xff" * 24, b"", b"no catalogue, but text")
    for number, damage in enumerate(damages):
        place = tmp_path / str(number) / "de" / "LC_MESSAGES"
        place.mkdir(parents=True)
        (place / german.name).write_bytes(damage)
        use_language("de", folder=tmp_path / str(number))
        assert _("holds no rows.") == "holds no rows."


def test_braces_are_doubled_with_values_and_never_without() -> None:
    assert _("a mapping such as {a: b}") == "a mapping such as {a: b}"
    assert _("{{prompt: {name}}}", name="A") == "{prompt: A}"


def test_reasons_stay_english_on_disk_and_are_translated_where_they_are_shown(german: Path) -> None:
    ledger = Ledger()
    problem = RowProblem(N_("the prompt is empty"), "x")
    ledger.count_row("dropped", Origin("a", 1), problem.reason)
    ledger.count_row("dropped", Origin("a", 2), N_("shorter than {least} characters", least=9))
    kept = json.loads(json.dumps(ledger.to_json()))
    assert [reason["reason"] for reason in kept["reasons"]] == [
        "the prompt is empty",
        "shorter than 9 characters",
    ]
    again = Ledger.from_json(kept)
    assert [_(reason.reason) for reason in again.list_reasons()] == [
        "die Frage ist leer",
        "kürzer als 9 Zeichen",
    ]
    assert again.to_json() == ledger.to_json() and again.is_consistent
    assert str(problem) == "die Frage ist leer: x"
    for reason in kept["reasons"]:
        reason["samples"] = []
    assert format_ledger_event(kept)[1:] == [
        "Zeilen: 1 verworfen: die Frage ist leer",
        "Zeilen: 1 verworfen: kürzer als 9 Zeichen",
    ]


def test_a_marked_sentence_survives_another_process_and_a_damaged_recipe_is_plain_text(german: Path) -> None:
    made = pickle.loads(pickle.dumps(N_("shorter than {least} characters", least=9)))
    assert made == "shorter than 9 characters" and _(made) == "kürzer als 9 Zeichen"
    assert _(recall_sentence(made, recipe_of(made))) == "kürzer als 9 Zeichen"
    for damaged in (
        None,
        3,
        {},
        {"pattern": "{x:>999999999}", "values": {"x": 1}},
        {"pattern": "{x.a}", "values": {}},
    ):
        assert recall_sentence("as it was", damaged) == "as it was"


def test_help_speaks_the_language(german: Path) -> None:
    from tui_tuner.cli.command_list import build_command

    run = build_command().commands["run"]
    assert run.help == "Trainiert, was eine Konfiguration beschreibt."
    assert "Eine YAML-Datei oder der Name einer Vorlage." in [getattr(p, "help", "") for p in run.params]
