"""Makes `docs/methods.md` from the declarations of the methods: `python docs/methods.py`, or `make docs`."""

from __future__ import annotations

from pathlib import Path

from tui_tuner.cli.reference.method_page import list_method_pages
from tui_tuner.cli.reference.page_layout import write_markdown

if __name__ == "__main__":
    target = Path(__file__).with_name("methods.md")
    target.write_text(write_markdown(list_method_pages()), encoding="utf-8")
