"""The dark and the light theme. Every colour comes with a mark or a word, so nothing depends on colour."""

from __future__ import annotations

from textual.theme import Theme

DARK = "tuner-dark"
LIGHT = "tuner-light"

# Textual's widgets read the `block-cursor-*`, `footer-*` and `scrollbar-*` variables; the other names are
# ours, for style.tcss and content markup.
_DARK = Theme(
    name=DARK,
    dark=True,
    primary="#7fb4d9",
    secondary="#9a91d6",
    accent="#dba76a",
    foreground="#d5dae3",
    background="#10141a",
    surface="#10141a",
    panel="#1a2029",
    success="#8cc28a",
    warning="#dbb46a",
    error="#e57f7f",
    variables={
        "dim": "#838d9c",
        "line": "#2c3542",
        "trained": "#8cc28a",
        "trained-back": "#1d3226",
        "special": "#9a91d6",
        "curve": "#7fb4d9",
        "curve-validation": "#dba76a",
        "cursor-back": "#24384a",
        "block-cursor-background": "#24384a",
        "block-cursor-foreground": "#eef2f7",
        "block-cursor-text-style": "none",
        "block-cursor-blurred-background": "#1a2029",
        "block-cursor-blurred-foreground": "#d5dae3",
        "footer-key-foreground": "#dba76a",
        "footer-background": "#1a2029",
        "footer-description-foreground": "#a9b2c0",
        "input-selection-background": "#7fb4d9 35%",
        "border": "#7fb4d9",
        "border-blurred": "#2c3542",
        "scrollbar": "#2c3542",
        "scrollbar-hover": "#3b4757",
        "scrollbar-active": "#7fb4d9",
        "scrollbar-background": "#10141a",
        "scrollbar-background-hover": "#10141a",
        "scrollbar-background-active": "#10141a",
        "scrollbar-corner-color": "#10141a",
    },
)

_LIGHT = Theme(
    name=LIGHT,
    dark=False,
    primary="#20648c",
    secondary="#5b4fa3",
    accent="#97590f",
    foreground="#262b33",
    background="#fbfaf7",
    surface="#fbfaf7",
    panel="#efede6",
    success="#2f7038",
    warning="#8a6206",
    error="#b02f33",
    variables={
        "dim": "#666c76",
        "line": "#d3d0c6",
        "trained": "#1d5c2a",
        "trained-back": "#dcecd8",
        "special": "#5b4fa3",
        "curve": "#20648c",
        "curve-validation": "#b3680f",
        "cursor-back": "#d3e4ee",
        "block-cursor-background": "#d3e4ee",
        "block-cursor-foreground": "#12171e",
        "block-cursor-text-style": "none",
        "block-cursor-blurred-background": "#efede6",
        "block-cursor-blurred-foreground": "#262b33",
        "footer-key-foreground": "#97590f",
        "footer-background": "#efede6",
        "footer-description-foreground": "#4a515b",
        "input-selection-background": "#20648c 25%",
        "border": "#20648c",
        "border-blurred": "#d3d0c6",
        "scrollbar": "#d3d0c6",
        "scrollbar-hover": "#bcb8ab",
        "scrollbar-active": "#20648c",
        "scrollbar-background": "#fbfaf7",
        "scrollbar-background-hover": "#fbfaf7",
        "scrollbar-background-active": "#fbfaf7",
        "scrollbar-corner-color": "#fbfaf7",
    },
)

THEMES = {DARK: _DARK, LIGHT: _LIGHT}
