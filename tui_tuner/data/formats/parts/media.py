"""Find rows that need a picture, sound or film, of which a language model reads only the text.

They have columns next to the text (`images`, `video_path`), parts in a turn's content
(`{"type": "image_url"}`), or placeholders in a question (`<image>`). A placeholder counts if the file has a
column for media, and otherwise at the very start or end of a question, where data sets put it: in the middle
of a sentence, or with a closing tag, it is a tag that the text is about.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from tui_tuner.data.formats.parts.columns import normalise_column_name, parse_if_json
from tui_tuner.data.formats.parts.values import Columns, Values, is_empty
from tui_tuner.data.records import Chat, JudgedChat, LabelledText, Message, Preference, Question, Record
from tui_tuner.data.row_problem import RowProblem
from tui_tuner.locales import N_

NEEDS = {
    "picture": N_("needs a picture"),
    "film": N_("needs a film"),
    "sound": N_("needs sound"),
    "file": N_("needs a file with its text"),
}
WITHOUT = {
    "picture": N_("read without the picture it needs"),
    "film": N_("read without the film it needs"),
    "sound": N_("read without the sound it needs"),
    "file": N_("read without the file it needs"),
}
AS_TEXT = N_("<image>, <video> or <audio> in a question is read as text: no column holds media")

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
# Qwen-VL's and Qwen-Audio's: the path of a file between tags, which does not occur in a sentence
_FILED = re.compile(
    r"<(img|image|video|audio)>\s*+[^<>\s][^<>\s./]*+[./](?=[^<>\s])[^<>\s]++\s*+</\1>", re.IGNORECASE
)
_PLACE_KIND = {"img": "picture", "image": "picture", "video": "film", "audio": "sound"}


class MediaNeeded(RowProblem):
    """A turn has a part that is not text. `kind` is a key of `NEEDS`."""

    def __init__(self, kind: str, detail: str = "") -> None:
        self.kind = kind
        super().__init__(NEEDS[kind], detail)


def find_part_kind(part: dict[str, Any]) -> str:
    """Return the kind of media in a content part, a key of `NEEDS`; empty if it has none."""
    said = part.get("type")
    names = [said] if isinstance(said, str) else [key for key, value in part.items() if not is_empty(value)]
    return next((kind for name in names for word, kind in _PARTS if word in str(name).lower()), "")


def find_media_columns(names: Iterable[object]) -> dict[str, str]:
    """Return the columns of pictures, sound or films, judging by their names: column -> kind."""
    kinds = ((str(name), _COLUMNS.get(normalise_column_name(str(name)), "")) for name in names)
    return {name: kind for name, kind in kinds if kind}


def find_needed_media(
    record: Record, values: Values, beside: dict[str, str], columns: Columns
) -> tuple[str, str]:
    """Return what a row needs besides its text (a key of `NEEDS`, or empty), and where that shows.

    Args:
        beside: The file's columns of media (`find_media_columns`).
        columns: The columns that the record was made from.
    """
    if beside and isinstance(record, Chat | JudgedChat | Preference | LabelledText | Question):
        for name, kind in beside.items():
            if not _has_no_media(values.get(name)) and name not in columns.values():
                return kind, name
    for text in _list_questions(record):
        # The cheap test first: this runs for every question of every row.
        if "<" in text and (found := _find_placeholder(text, bool(beside))):
            return _PLACE_KIND[found.group(1).lower()], found.group()
    return "", ""


def speaks_of_media(record: Record) -> bool:
    """Return whether a question has a placeholder that is read as text."""
    return any("<" in text and _PLACE.search(text) for text in _list_questions(record))


def remove_placeholders(record: Record) -> None:
    """Remove the placeholders from a record's questions, in place."""
    for message in _list_user_messages(record):
        message.content = _PLACE.sub("", _FILED.sub("", message.content or "")).strip()


def remove_media_parts(values: Values, names: Iterable[str]) -> Values:
    """Return a row without the parts of its turns in these columns that are not text."""
    found = dict(values)
    for name in names:
        loaded = parse_if_json(values.get(name))
        if isinstance(loaded, dict) or (
            isinstance(loaded, list) and any(isinstance(x, dict) for x in loaded)
        ):
            found[name] = _keep_text_parts(loaded)
    return found


def _keep_text_parts(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _keep_text_parts(item) if isinstance(item, list) else item for key, item in value.items()
        }
    if not isinstance(value, list):
        return value
    kept = [item for item in value if not (isinstance(item, dict) and _is_media_part(item))]
    return [_keep_text_parts(item) if isinstance(item, dict | list) else item for item in kept]


def _is_media_part(item: dict[str, Any]) -> bool:
    # A turn is not a part, and a part with a text is kept for its text.
    return "role" not in item and "from" not in item and not item.get("text") and bool(find_part_kind(item))


def _find_placeholder(text: str, anywhere: bool) -> re.Match[str] | None:
    if filed := _FILED.search(text):
        return filed
    plain, begin, end = text.lower(), len(text) - len(text.lstrip()), len(text.rstrip())
    # With a closing tag it is HTML that the question is about.
    closed = {name: f"</{name}" in plain for name in _PLACE_KIND}
    for found in _PLACE.finditer(text):
        if closed[found.group(1).lower()]:
            continue
        if anywhere or found.start() <= begin or found.end() >= end:
            return found
    return None


def _list_user_messages(record: Record) -> list[Message]:
    if not isinstance(record, Chat | JudgedChat | Preference):
        return []
    return [message for message in record.messages if message.role == "user" and message.content]


def _list_questions(record: Record) -> list[str]:
    return [message.content or "" for message in _list_user_messages(record)]


def _has_no_media(value: Any) -> bool:
    """Return whether a cell has no media: it is empty or false, or a list of empty values."""
    return value is False or is_empty(value) or (isinstance(value, list) and all(map(is_empty, value)))
