"""A screen to write training rows by hand, one text at a time; each row is saved at once."""

from __future__ import annotations

from typing import ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, OptionList, Static, TextArea

from tui_tuner.config.advice import format_error_words
from tui_tuner.errors import TunerError
from tui_tuner.guiding import marking as rows
from tui_tuner.guiding.annotate import Annotation, describe_annotation_progress, open_annotation
from tui_tuner.locales import _, _n
from tui_tuner.text import one_line
from tui_tuner.ui.screen_words import make_safe_block, make_safe_line
from tui_tuner.ui.screens.dialogs import PathDialog
from tui_tuner.ui.screens.guide.label_lines import describe_next_label, list_labels, render_legend
from tui_tuner.ui.screens.screen_base import TunerScreen
from tui_tuner.ui.widgets.marked_words import Mark, MarkedWords


class AnnotationOpened(Message):
    """The file of rows and the texts, or the error."""

    def __init__(self, annotation: Annotation | None, error: str) -> None:
        super().__init__()
        self.annotation, self.error = annotation, error


class AnnotateScreen(TunerScreen):
    """Gives the path of the file of rows, or None if none was written.

    Args:
        path: A file of such rows, which need not exist yet, a file of texts, or None; see `guiding.annotate`.
        task: The task that the rows are for.
    """

    HELP_TEXT = _(
        "Each row is on the disk as soon as it is saved. You can leave with Esc and continue at any time; "
        "texts that have a row are not shown again.\n"
        "Classes and tags have a digit each; n creates one. In a text the arrow keys move from word to word, "
        "Space starts a selection of several words, Backspace removes a tag. ^z undoes the last row so that "
        "you can change it."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "save", _("Save row"), priority=True),
        Binding("ctrl+n", "skip", _("Next text"), priority=True),
        Binding("ctrl+z", "undo", _("Undo"), priority=True),
        Binding("escape", "back", _("Done"), priority=True),
        Binding("tab", "app.focus_next", _("Next part"), show=False),
    ]
    DEFAULT_CSS = """
    AnnotateScreen #progress { height: 1; padding: 0 1; color: $dim; }
    AnnotateScreen #work { height: 1fr; }
    AnnotateScreen #hint { height: auto; max-height: 3; padding: 0 1; }
    AnnotateScreen #work > * { display: none; }
    AnnotateScreen TextArea { border: none; padding: 0 1; background: $panel; height: 1fr; }
    AnnotateScreen TextArea:focus { border: none; }
    AnnotateScreen #prompt { height: 6; margin-bottom: 1; }
    AnnotateScreen #question { margin-bottom: 1; }
    AnnotateScreen #shown { height: 1fr; }
    AnnotateScreen #shown Static { height: auto; }
    AnnotateScreen #labels { height: auto; max-height: 8; border-top: solid $line; }
    AnnotateScreen #legend { height: auto; max-height: 3; border-top: solid $line; }
    AnnotateScreen.-chat #prompt, AnnotateScreen.-chat #answer { display: block; }
    AnnotateScreen.-labelled #labels, AnnotateScreen.-labelled.-marking #shown { display: block; }
    AnnotateScreen.-typing #text { display: block; }
    AnnotateScreen.-tagged.-marking #words, AnnotateScreen.-tagged.-marking #legend { display: block; }
    AnnotateScreen.-question.-marking #words, AnnotateScreen.-question.-marking #question { display: block; }
    """

    def __init__(self, path: str | None, task: str) -> None:
        super().__init__()
        self._given, self._for = path, task
        self.annotation: Annotation | None = None
        self._text = ""  # the text that is shown now
        # The texts of the rows of this session, as they were before they were cleaned and cut
        self._before: list[str] = []
        self._labels: list[str] = []
        self._warned = False
        self._began = ("", "")  # prompt and answer as they were filled in, to notice typed changes

    def build_crumb(self) -> Content:
        return Content(_("Write rows"))

    def compose_body(self) -> ComposeResult:
        yield Static(id="progress")
        with Vertical(id="work", classes="panel"):
            yield TextArea(id="prompt", placeholder=_("a prompt for the model"), soft_wrap=True)
            yield TextArea(id="answer", placeholder=_("the answer that you would give"), soft_wrap=True)
            yield Input(id="question", placeholder=_("a question that this text answers"))
            yield TextArea(id="text", placeholder=_("type or paste a text"), soft_wrap=True)
            with VerticalScroll(id="shown", can_focus=False):
                yield Static()
            yield MarkedWords("words")
            yield OptionList(id="labels")
            yield Static(id="legend")
        yield Static(id="hint")

    def on_mount(self) -> None:
        self._show_hint(_("Reading…"))
        self._read_annotation()

    @work(thread=True, group="annotate")
    def _read_annotation(self) -> None:
        try:
            self.post_message(AnnotationOpened(open_annotation(self._given, self._for), ""))
        except (TunerError, OSError) as error:
            self.post_message(AnnotationOpened(None, format_error_words(error)))

    def work_failed(self, group: str, words: str) -> None:
        self.post_message(AnnotationOpened(None, words))

    @on(AnnotationOpened)
    def _begin_annotation(self, message: AnnotationOpened) -> None:
        found = message.annotation
        if found is None:
            self._show_hint(message.error, "$error")
            return
        self.annotation = found
        self._labels = found.list_labels()
        self.add_class(f"-{found.kind}")
        if found.notes:
            self.tuner_app.show_notice(" ".join(found.notes), "warning", 10)
        self._next_text()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "skip":
            found = self.annotation
            # A typed text has no next one, except for questions, where another text can be typed.
            return found is not None and (bool(found.texts) or self._row_kind == "question")
        return True

    @property
    def _row_kind(self) -> str:
        return self.annotation.kind if self.annotation is not None else ""

    # ---- one text after the other -----------------------------------------------------------------------

    def _next_text(self) -> None:
        """Show the next text of the file, or an empty field to type one."""
        assert self.annotation is not None
        self._text = self.annotation.texts[0] if self.annotation.texts else ""
        self._show_text()

    def _show_text(self, marks: list[Mark] | None = None) -> None:
        self._warned = False
        found = self.annotation
        assert found is not None
        if found.kind == "chat":
            self._fill_chat(self._text, "")
            self.set_focus(self._find_area("answer" if self._text else "prompt"))
        else:
            self.set_class(bool(self._text), "-marking")
            self.set_class(not self._text, "-typing")
            self._find_area("text").text = ""
            if not self._text:
                self.set_focus(self._find_area("text"))
            elif found.kind == "labelled":
                self.query_one("#shown Static", Static).update(make_safe_block(self._text))
                self.query_one("#shown").scroll_to(y=0, animate=False)
                self.set_focus(self.query_one("#labels"))
            else:
                words = self.query_one(MarkedWords)
                words.show_text(self._text, rows.split_words_to_mark(self._text), marks)
                self.set_focus(self.query_one(Input) if found.kind == "question" else words)
        self._draw_progress()

    def _fill_chat(self, prompt: str, answer: str) -> None:
        self._find_area("prompt").text, self._find_area("answer").text = prompt, answer
        self._began = (prompt, answer)

    def _draw_progress(self) -> None:
        """Update the progress, the labels and the hint."""
        found = self.annotation
        assert found is not None
        left = len(found.texts)
        said = describe_annotation_progress(found)
        if found.from_file:
            to_do = _n("{count:,} text left", "{count:,} texts left", left, count=left)
            said = f"{said} · {to_do}"
        name = one_line(found.path.name, 60)
        self.query_one("#progress", Static).update(make_safe_line(said))
        self.query_one("#work").border_title = Content(name)
        if found.kind == "labelled":
            list_labels(self.query_one("#labels", OptionList), self._labels, found.count_marks())
        elif found.kind == "tagged":
            self.query_one("#legend", Static).update(render_legend(self._labels))
        done = found.from_file and not found.texts
        self._show_hint(describe_next_label(found.kind, self.has_class("-typing"), done))
        self.refresh_bindings()

    # ---- saving -----------------------------------------------------------------------------------------

    def action_save(self) -> None:
        """Save the row, or show what is missing."""
        if self.annotation is None:
            return
        if self._row_kind == "chat":
            self._save_chat()
        elif self._row_kind == "labelled":
            self._save_label()
        elif self.has_class("-typing"):
            self._take_text()
        elif self._row_kind == "tagged":
            words = self.query_one(MarkedWords)
            self._write_row(rows.make_tagged_row(words.words, words.marks))
        else:
            self._save_answer(self.query_one(MarkedWords).chosen_place)

    def _save_chat(self) -> None:
        prompt, answer = self._read_area("prompt"), self._read_area("answer")
        if not prompt or not answer:
            self._show_hint(_("Type both the prompt and the answer."), "$warning")
            self.set_focus(self._find_area("answer" if prompt else "prompt"))
            return
        self._text = self._text or prompt
        self._write_row({"prompt": prompt, "response": answer})

    def _save_label(self) -> None:
        """Save the text with the class under the cursor."""
        labels = self.query_one("#labels", OptionList)
        # The first ^s goes to the classes, so that none is saved that was not looked at.
        if self.focused is not labels and self._labels:
            self.set_focus(labels)
            return
        place = labels.highlighted
        if place is None or place >= len(self._labels):
            self._ask_label()
        else:
            self._save_with_label(self._labels[place])

    def _save_with_label(self, label: str) -> None:
        text = self._text or self._read_area("text")
        if not text:
            self._show_hint(_("Type a text first."), "$warning")
            self.set_focus(self._find_area("text"))
            return
        self._text = text
        self._write_row({"text": text, "label": label})

    def _take_text(self) -> None:
        """Continue from typing a text to marking it."""
        text = self._read_area("text")
        if not rows.split_words_to_mark(text):
            self._show_hint(_("Type a text first."), "$warning")
            return
        self._text = text
        self._show_text()

    def _save_answer(self, place: tuple[int, int] | None) -> None:
        question = rows.strip_control_characters(self.query_one(Input).value).strip()
        if not question:
            self._show_hint(_("Type a question first."), "$warning")
            self.set_focus(self.query_one(Input))
            return
        self._write_row(rows.make_question_row(question, self._text, place))

    def _write_row(self, row: rows.Row) -> None:
        found = self.annotation
        assert found is not None
        try:
            found.append_row(row)
        except TunerError as error:
            self._show_hint(format_error_words(error), "$error")
            return
        # A row may hold a cleaned or shortened text. Undo must show the one that the row was made from.
        self._before.append(self._text)
        if found.kind == "question":  # a text may have several questions, so it stays
            self.query_one(Input).value = ""
            self.query_one(MarkedWords).choose_words(0, 0)
            self.set_focus(self.query_one(Input))
            self._draw_progress()
            return
        if found.texts and found.texts[0] == self._text:
            found.texts.pop(0)
        self._next_text()

    def action_skip(self) -> None:
        """Go to the next text; one without rows comes again at the end."""
        found = self.annotation
        if found is None:
            return
        if found.texts and found.texts[0] == self._text:
            text = found.texts.pop(0)
            if not any(rows.find_row_text(row) == text for row in found.rows):
                found.texts.append(text)
        self.query_one(Input).value = ""
        self._next_text()

    def action_undo(self) -> None:
        """Undo typing, or else take back the last row to change it."""
        found = self.annotation
        area = self.focused
        if isinstance(area, TextArea) and area.text and area.text not in self._began:
            # While a text is being typed, undo is about its letters, not about the row before.
            area.undo()
            return
        if found is None:
            return
        try:
            row = found.undo_last()
        except TunerError as error:
            self._show_hint(format_error_words(error), "$error")
            return
        if row is None:
            self._show_hint(_("There is no row to undo."), "$warning")
            return
        self._put_back(row, self._before.pop() if self._before else rows.find_row_text(row))

    def _put_back(self, row: rows.Row, text: str) -> None:
        found = self.annotation
        assert found is not None
        self._text = text
        if found.from_file and found.texts[:1] != [text]:
            found.texts.insert(0, text)
        if found.kind == "tagged":
            self._show_text(
                # Marks are numbers of words, so they only fit a text that is split in the same way.
                rows.read_marks(row) if len(rows.split_words_to_mark(text)) == len(row["tokens"]) else None
            )
            return
        self._show_text()
        if found.kind == "chat":
            self._fill_chat(row["prompt"], row["response"])
        elif found.kind == "labelled" and str(row["label"]) in self._labels:
            self.query_one("#labels", OptionList).highlighted = self._labels.index(str(row["label"]))
        elif found.kind == "question":
            self.query_one(Input).value = row["question"]
            self._choose_answer(row)

    def _choose_answer(self, row: rows.Row) -> None:
        words, starts = self.query_one(MarkedWords), row["answers"]["answer_start"]
        if not starts:
            return
        end = starts[0] + len(row["answers"]["text"][0])
        # An answer may begin or end within a word: every word that it touches is marked.
        inside = [word for word, (begin, stop) in enumerate(words.places) if begin < end and stop > starts[0]]
        if inside:
            words.choose_words(inside[0], inside[-1])

    # ---- keys -------------------------------------------------------------------------------------------

    def on_key(self, event: events.Key) -> None:
        """Use digits and letters as keys while a list or a text has the focus."""
        words, labels = self.query_one(MarkedWords), self.query_one("#labels")
        if self.annotation is not None and self.focused in (words, labels) and self._take_key(event):
            event.stop()  # or whatever has the focus by now would take it, too

    def _take_key(self, event: events.Key) -> bool:
        """Act on a key; return whether it had a meaning."""
        words, key = self.query_one(MarkedWords), event.character or event.key
        if event.key == "enter" and self._row_kind in ("question", "tagged"):
            self.action_save()
        elif self._row_kind == "question":
            if key != "x":
                return False
            self._save_answer(None)
        # 0 is not a label: it removes a tag, like Backspace.
        elif key.isdigit() and key != "0" and int(key) <= len(self._labels):
            self._use_label(self._labels[int(key) - 1])
        elif key == "n":
            self._ask_label()
        elif self._row_kind == "tagged" and event.key in ("backspace", "delete", "0"):
            words.mark_chosen("")
        else:
            return False
        return True

    def _use_label(self, label: str) -> None:
        """Give the text, or the selected words, a label."""
        self._warned = False
        if self._row_kind == "labelled":
            self._save_with_label(label)
        else:
            self.query_one(MarkedWords).mark_chosen(label)

    def _ask_label(self) -> None:
        title = _("New class") if self._row_kind == "labelled" else _("New label")
        self.app.push_screen(PathDialog(title, _("Name"), ""), self._add_label)

    def _add_label(self, name: str | None) -> None:
        label = one_line(rows.strip_control_characters(name or "")).strip()
        if self._row_kind == "tagged":
            # Every format of tags takes a tag as one word.
            label = "_".join(label.split())
        if not label:
            return
        if label not in self._labels:
            self._labels.append(label)
        self._use_label(label)
        if self._row_kind == "tagged":
            self.query_one("#legend", Static).update(render_legend(self._labels))

    @on(OptionList.OptionSelected, "#labels")
    def _label_chosen(self, _event: OptionList.OptionSelected) -> None:
        self._save_label()

    @on(Input.Submitted, "#question")
    def _go_to_words(self) -> None:
        self.set_focus(self.query_one(MarkedWords))

    @on(TextArea.Changed)
    def _remove_control_characters(self, event: TextArea.Changed) -> None:
        """Remove pasted control characters."""
        area, self._warned = event.text_area, False
        if rows.strip_control_characters(area.text) != area.text:
            area.text = rows.strip_control_characters(area.text)
            # Setting the text puts the cursor at its start.
            area.move_cursor(area.document.end)

    def action_back(self) -> None:
        """Leave the screen; warn once if a row is not saved."""
        found = self.annotation
        if found is not None and self._has_unsaved() and not self._warned:
            self._warned = True
            self._show_hint(
                _("This row is not saved. Press ^s to save it, Esc again to discard it."), "$warning"
            )
            return
        # A file without rows is not data that the guide could use.
        self.dismiss(str(found.path) if found is not None and found.rows else None)

    def _has_unsaved(self) -> bool:
        if self._row_kind == "chat":
            return (self._read_area("prompt"), self._read_area("answer")) != tuple(
                map(str.strip, self._began)
            )
        if self.has_class("-typing"):
            return bool(self._read_area("text"))
        typed = self._row_kind == "question" and bool(self.query_one(Input).value.strip())
        return typed or (self._row_kind == "tagged" and bool(self.query_one(MarkedWords).marks))

    def _find_area(self, id: str) -> TextArea:
        return self.query_one(f"#{id}", TextArea)

    def _read_area(self, id: str) -> str:
        return rows.strip_control_characters(self._find_area(id).text).strip()

    def _show_hint(self, words: str, style: str = "$dim") -> None:
        self.query_one("#hint", Static).update(make_safe_block(words).stylize(style))
