"""Rows that need a picture, sound or film: a language model reads their text alone.

They are told by columns beside the text (`images`, `video_path`), by parts of a turn's content
(`{"type": "image_url"}`), and by placeholders in a question (`<image>`). A placeholder counts where the file
has a column for media, and otherwise at the very beginning or end of a question, where data sets put it: in
the middle of a sentence it is a tag that somebody writes about, and so it is beside a closing tag.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from tui_tuner.data.formats.parts.columns import loads_if_json, plain_name
from tui_tuner.data.formats.parts.values import Columns, Values, is_empty
from tui_tuner.data.problems import RowProblem
from tui_tuner.data.records import Chat, Judged, Labelled, Message, Preference, Question, Record
from tui_tuner.locales import N_

NEEDS = {
    "picture": N_("needs a picture"),
    "film": N_("needs a film"),
    "sound": N_("needs sound"),
    "file": N_("needs a file beside its text"),
}
WITHOUT = {
    "picture": N_("read without the picture it needs"),
    "film": N_("read without the film it needs"),
    "sound": N_("read without the sound it needs"),
    "file": N_("read without the file it needs"),
}
AS_TEXT = N_("<image>, <video> or <audio> in a question is taken as text: no column holds any")

_STEMS = {
    "picture": ("image", "images", "img", "imgs", "picture", "pictures", "photo", "photos"),
    "film": ("video", "videos", "movie_frames", "video_frames"),
    "sound": ("audio", "audios", "sound", "sounds", "speech_audio", "waveform"),
}
_TAILS = ("", "_path", "_paths", "_url", "_urls", "_uri", "_file", "_files", "_bytes", "_base64", "_list")
_COLUMNS = {stem + tail: kind for kind, stems in _STEMS.items() for stem in stems for tail in _TAILS} | {
    "pixel_values": "picture",
    "image_grid_thw": "picture",
    "pixel_values_videos": "film",
    "video_grid_thw": "film",
    "input_features": "sound",
}
_PARTS = (
    ("image", "picture"),
    ("picture", "picture"),
    ("video", "film"),
    ("audio", "sound"),
    ("file", "file"),
    ("document", "file"),
)
_PLACE = re.compile(r"<\|?(image|video|audio)(?:[_-]?\d+|_pad|_placeholder)?\|?>", re.IGNORECASE)
# Qwen-VL's and Qwen-Audio's: the place of a file between tags, which nobody writes in a sentence
_FILED = re.compile(
    r"<(img|image|video|audio)>\s*+[^<>\s][^<>\s./]*+[./](?=[^<>\s])[^<>\s]++\s*+</\1>", re.IGNORECASE
)
_PLACE_KIND = {"img": "picture", "image": "picture", "video": "film", "audio": "sound"}


class NeedsMedia(RowProblem):
    """A turn has a part that is no text. `kind` is a key of `NEEDS`."""

    def __init__(self, kind: str, detail: str = "") -> None:
        self.kind = kind
        super().__init__(NEEDS[kind], detail)


def kind_of_part(part: dict[str, Any]) -> str:
    """What a content part shows, a key of `NEEDS`; empty if it is nothing of the kind."""
    said = part.get("type")
    names = [said] if isinstance(said, str) else [key for key, value in part.items() if not is_empty(value)]
    return next((kind for name in names for word, kind in _PARTS if word in str(name).lower()), "")


def media_columns(names: Iterable[object]) -> dict[str, str]:
    """Columns that hold pictures, sound or films, by their names: column -> kind."""
    kinds = ((str(name), _COLUMNS.get(plain_name(str(name)), "")) for name in names)
    return {name: kind for name, kind in kinds if kind}


def needed(record: Record, values: Values, beside: dict[str, str], columns: Columns) -> tuple[str, str]:
    """What a row needs beside its text (a key of `NEEDS`, or nothing), and where that shows.

    Args:
        beside: The file's columns that hold media (`media_columns`).
        columns: The columns that the record was made from.
    """
    if beside and isinstance(record, Chat | Judged | Preference | Labelled | Question):
        for name, kind in beside.items():
            if not _nothing(values.get(name)) and name not in columns.values():
                return kind, name
    for text in _questions(record):
        if "<" in text and (found := _placeholder(text, bool(beside))):
            return _PLACE_KIND[found.group(1).lower()], found.group()
    return "", ""


def speaks_of_media(record: Record) -> bool:
    """Whether a question has a placeholder in it that is taken as text."""
    return any("<" in text and _PLACE.search(text) for text in _questions(record))


def without_places(record: Record) -> None:
    """Take the placeholders out of a record's questions, in place."""
    for message in _asking(record):
        message.content = _PLACE.sub("", _FILED.sub("", message.content or "")).strip()


def without_parts(values: Values, names: Iterable[str]) -> Values:
    """A row without the content parts of its turns, in these columns, that are no text."""
    found = dict(values)
    for name in names:
        loaded = loads_if_json(values.get(name))
        if isinstance(loaded, dict) or (
            isinstance(loaded, list) and any(isinstance(x, dict) for x in loaded)
        ):
            found[name] = _text_parts(loaded)
    return found


def _text_parts(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _text_parts(item) if isinstance(item, list) else item for key, item in value.items()}
    if not isinstance(value, list):
        return value
    kept = [item for item in value if not (isinstance(item, dict) and _is_media_part(item))]
    return [_text_parts(item) if isinstance(item, dict | list) else item for item in kept]


def _is_media_part(item: dict[str, Any]) -> bool:
    return "role" not in item and "from" not in item and not item.get("text") and bool(kind_of_part(item))


def _placeholder(text: str, anywhere: bool) -> re.Match[str] | None:
    if filed := _FILED.search(text):
        return filed
    plain, begin, end = text.lower(), len(text) - len(text.lstrip()), len(text.rstrip())
    closed = {name: f"</{name}" in plain for name in _PLACE_KIND}
    for found in _PLACE.finditer(text):
        if closed[found.group(1).lower()]:
            continue
        if anywhere or found.start() <= begin or found.end() >= end:
            return found
    return None


def _asking(record: Record) -> list[Message]:
    if not isinstance(record, Chat | Judged | Preference):
        return []
    return [message for message in record.messages if message.role == "user" and message.content]


def _questions(record: Record) -> list[str]:
    return [message.content or "" for message in _asking(record)]


def _nothing(value: Any) -> bool:
    """Whether a cell of media holds none: empty or false, or a list of empty ones."""
    return value is False or is_empty(value) or (isinstance(value, list) and all(map(is_empty, value)))
