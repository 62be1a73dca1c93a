"""A directory tree that can show any file name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.text import Text
from textual.widgets import DirectoryTree

from tui_tuner.text import one_line


class FileTree(DirectoryTree):
    """Names are never read as markup; hidden files are left out; folders come first."""

    ICON_NODE = "▸ "
    ICON_NODE_EXPANDED = "▾ "
    ICON_FILE = "  "

    def process_label(self, label: str | Text) -> Text:
        """A name on one line, made safe."""
        return Text(one_line(label.plain if isinstance(label, Text) else label), no_wrap=True)

    def filter_paths(self, paths: Iterable[Path]) -> Iterable[Path]:
        return [path for path in paths if not path.name.startswith(".")]
