"""Words of the screens in the user's language: gettext, English where there is no catalogue."""

from __future__ import annotations

import gettext
from pathlib import Path

LOCALES = Path(__file__).parent / "locales"

_catalogue = gettext.translation("tui_tuner", LOCALES, fallback=True)
_ = _catalogue.gettext
ngettext = _catalogue.ngettext

__all__ = ["LOCALES", "_", "ngettext"]
