"""Rows made by hand: one text after the other, and what belongs to it; each is kept once it is written."""

from __future__ import annotations

from typing import ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, OptionList, Static, TextArea

from tui_tuner.config.advice import words_of
from tui_tuner.errors import TunerError
from tui_tuner.guiding import marking as rows
from tui_tuner.guiding.annotate import Annotation, open_annotation, say_progress
from tui_tuner.locales import _, _n
from tui_tuner.text import one_line
from tui_tuner.ui.screens.base import TunerScreen
from tui_tuner.ui.screens.dialogs import AskPath
from tui_tuner.ui.screens.guide.labels import legend, list_labels, what_next
from tui_tuner.ui.widgets.marked_words import Mark, MarkedWords
from tui_tuner.ui.words import block, safe


class Opened(Message):
    """The file and the texts were read, or not."""

    def __init__(self, annotation: Annotation | None, error: str) -> None:
        super().__init__()
        self.annotation, self.error = annotation, error


class AnnotateScreen(TunerScreen):
    """Gives the path of the file of rows, or None where none was written.

    Args:
        path: A file of such rows, there or not, a file of texts, or None: see `guiding.annotate`.
        task: Whose rows they are.
    """

    HELP_TEXT = _(
        "Each row is on the disk as soon as it is saved, and the file can be gone on with at any time: leave "
        "with Esc, come back, and what is done is not asked for again.\n"
        "Classes and tags have a digit each; n makes a new one. In a text the cursor keys go from word to "
        "word, Space holds one end of several words, Backspace takes a tag away. ^z takes the last row back, "
        "to be changed."
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
        self._text = ""  # what is marked now
        self._before: list[
            str
        ] = []  # the texts of the rows of this session, as they were before they were cut
        self._labels: list[str] = []
        self._warned = False
        self._began = ("", "")  # prompt and answer as they were put there, not typed

    def crumb(self) -> Content:
        return Content(_("Write rows"))

    def body(self) -> ComposeResult:
        yield Static(id="progress")
        with Vertical(id="work", classes="panel"):
            yield TextArea(id="prompt", placeholder=_("what the model is asked"), soft_wrap=True)
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
        self._say(_("Reading…"))
        self._open()

    @work(thread=True, group="annotate")
    def _open(self) -> None:
        try:
            self.post_message(Opened(open_annotation(self._given, self._for), ""))
        except (TunerError, OSError) as error:
            self.post_message(Opened(None, words_of(error)))

    def work_failed(self, group: str, words: str) -> None:
        self.post_message(Opened(None, words))

    @on(Opened)
    def _opened(self, message: Opened) -> None:
        found = message.annotation
        if found is None:
            self._say(message.error, "$error")
            return
        self.annotation = found
        self._labels = found.labels()
        self.add_class(f"-{found.kind}")
        if found.notes:
            self.tuner.say(" ".join(found.notes), "warning", 10)
        self._next_text()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "skip":  # there is one of a file, or one may be typed beside this one
            found = self.annotation
            return found is not None and (bool(found.texts) or self._kind == "question")
        return True

    @property
    def _kind(self) -> str:
        return self.annotation.kind if self.annotation is not None else ""

    # ---- one text after the other -----------------------------------------------------------------------

    def _next_text(self) -> None:
        """Show the next text of the file, or ask for one to be typed."""
        assert self.annotation is not None
        self._text = self.annotation.texts[0] if self.annotation.texts else ""
        self._show_text()

    def _show_text(self, marks: list[Mark] | None = None) -> None:
        self._warned = False
        found = self.annotation
        assert found is not None
        if found.kind == "chat":
            self._fill(self._text, "")
            self.set_focus(self._area("answer" if self._text else "prompt"))
        else:
            self.set_class(bool(self._text), "-marking")
            self.set_class(not self._text, "-typing")
            self._area("text").text = ""
            if not self._text:
                self.set_focus(self._area("text"))
            elif found.kind == "labelled":
                self.query_one("#shown Static", Static).update(block(self._text))
                self.query_one("#shown").scroll_to(y=0, animate=False)
                self.set_focus(self.query_one("#labels"))
            else:
                words = self.query_one(MarkedWords)
                words.show(self._text, rows.words_of_text(self._text), marks)
                self.set_focus(self.query_one(Input) if found.kind == "question" else words)
        self._draw()

    def _fill(self, prompt: str, answer: str) -> None:
        self._area("prompt").text, self._area("answer").text = prompt, answer
        self._began = (prompt, answer)

    def _draw(self) -> None:
        """Progress, labels, and what to do next."""
        found = self.annotation
        assert found is not None
        left = len(found.texts)
        said = say_progress(found)
        if found.from_file:
            to_do = _n("{count:,} text to do", "{count:,} texts to do", left, count=left)
            said = f"{said} · {to_do}"
        name = one_line(found.path.name, 60)
        self.query_one("#progress", Static).update(safe(said))
        self.query_one("#work").border_title = Content(name)
        if found.kind == "labelled":
            list_labels(self.query_one("#labels", OptionList), self._labels, found.counts())
        elif found.kind == "tagged":
            self.query_one("#legend", Static).update(legend(self._labels))
        done = found.from_file and not found.texts
        self._say(what_next(found.kind, self.has_class("-typing"), done))
        self.refresh_bindings()

    # ---- saving -----------------------------------------------------------------------------------------

    def action_save(self) -> None:
        """Write the row, or say what it lacks."""
        if self.annotation is None:
            return
        if self._kind == "chat":
            self._save_chat()
        elif self._kind == "labelled":
            self._save_label()
        elif self.has_class("-typing"):
            self._take_text()
        elif self._kind == "tagged":
            words = self.query_one(MarkedWords)
            self._write(rows.tagged_row(words.words, words.marks))
        else:
            self._save_answer(self.query_one(MarkedWords).chosen_place)

    def _save_chat(self) -> None:
        prompt, answer = self._typed("prompt"), self._typed("answer")
        if not prompt or not answer:
            self._say(_("Both parts are needed: what is asked, and the answer."), "$warning")
            self.set_focus(self._area("answer" if prompt else "prompt"))
            return
        self._text = self._text or prompt
        self._write({"prompt": prompt, "response": answer})

    def _save_label(self) -> None:
        """Write the text with the class under the cursor."""
        labels = self.query_one("#labels", OptionList)
        if self.focused is not labels and self._labels:
            self.set_focus(labels)
            return
        place = labels.highlighted
        if place is None or place >= len(self._labels):
            self._ask_label()
        else:
            self._label(self._labels[place])

    def _label(self, label: str) -> None:
        text = self._text or self._typed("text")
        if not text:
            self._say(_("Type a text first."), "$warning")
            self.set_focus(self._area("text"))
            return
        self._text = text
        self._write({"text": text, "label": label})

    def _take_text(self) -> None:
        """Go on from typing a text to marking it."""
        text = self._typed("text")
        if not rows.words_of_text(text):
            self._say(_("Type a text first."), "$warning")
            return
        self._text = text
        self._show_text()

    def _save_answer(self, place: tuple[int, int] | None) -> None:
        question = rows.clean(self.query_one(Input).value).strip()
        if not question:
            self._say(_("Type a question first."), "$warning")
            self.set_focus(self.query_one(Input))
            return
        self._write(rows.question_row(question, self._text, place))

    def _write(self, row: rows.Row) -> None:
        found = self.annotation
        assert found is not None
        try:
            found.append(row)
        except TunerError as error:
            self._say(words_of(error), "$error")
            return
        self._before.append(self._text)
        if found.kind == "question":  # several questions may be asked about a text
            self.query_one(Input).value = ""
            self.query_one(MarkedWords).choose(0, 0)
            self.set_focus(self.query_one(Input))
            self._draw()
            return
        if found.texts and found.texts[0] == self._text:
            found.texts.pop(0)
        self._next_text()

    def action_skip(self) -> None:
        """To the next text; one that has no rows yet comes again at the end."""
        found = self.annotation
        if found is None:
            return
        if found.texts and found.texts[0] == self._text:
            text = found.texts.pop(0)
            if not any(rows.text_of(row) == text for row in found.rows):
                found.texts.append(text)
        self.query_one(Input).value = ""
        self._next_text()

    def action_undo(self) -> None:
        """Take back what was typed, or else the last row, to be changed."""
        found = self.annotation
        area = self.focused
        if isinstance(area, TextArea) and area.text and area.text not in self._began:
            area.undo()
            return
        if found is None:
            return
        try:
            row = found.undo()
        except TunerError as error:
            self._say(words_of(error), "$error")
            return
        if row is None:
            self._say(_("There is no row to take back."), "$warning")
            return
        self._put_back(row, self._before.pop() if self._before else rows.text_of(row))

    def _put_back(self, row: rows.Row, text: str) -> None:
        found = self.annotation
        assert found is not None
        self._text = text
        if found.from_file and found.texts[:1] != [text]:
            found.texts.insert(0, text)
        if found.kind == "tagged":
            self._show_text(
                rows.marks_of(row) if len(rows.words_of_text(text)) == len(row["tokens"]) else None
            )
            return
        self._show_text()
        if found.kind == "chat":
            self._fill(row["prompt"], row["response"])
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
        inside = [word for word, (begin, stop) in enumerate(words.places) if begin < end and stop > starts[0]]
        if inside:
            words.choose(inside[0], inside[-1])

    # ---- keys -------------------------------------------------------------------------------------------

    def on_key(self, event: events.Key) -> None:
        """Digits and letters where nothing is typed."""
        words, labels = self.query_one(MarkedWords), self.query_one("#labels")
        if self.annotation is not None and self.focused in (words, labels) and self._take_key(event):
            event.stop()  # or whatever has the focus by now would take it, too

    def _take_key(self, event: events.Key) -> bool:
        """Whether a key meant something."""
        words, key = self.query_one(MarkedWords), event.character or event.key
        if event.key == "enter" and self._kind in ("question", "tagged"):
            self.action_save()
        elif self._kind == "question":
            if key != "x":
                return False
            self._save_answer(None)
        elif key.isdigit() and key != "0" and int(key) <= len(self._labels):
            self._use(self._labels[int(key) - 1])
        elif key == "n":
            self._ask_label()
        elif self._kind == "tagged" and event.key in ("backspace", "delete", "0"):
            words.mark("")
        else:
            return False
        return True

    def _use(self, label: str) -> None:
        """Give the text, or the words that are chosen, a label."""
        self._warned = False
        if self._kind == "labelled":
            self._label(label)
        else:
            self.query_one(MarkedWords).mark(label)

    def _ask_label(self) -> None:
        title = _("A new class") if self._kind == "labelled" else _("A new label")
        self.app.push_screen(AskPath(title, _("What is it called?"), ""), self._named)

    def _named(self, name: str | None) -> None:
        label = one_line(rows.clean(name or "")).strip()
        if self._kind == "tagged":
            label = "_".join(label.split())  # a tag is one word in every format of tags
        if not label:
            return
        if label not in self._labels:
            self._labels.append(label)
        self._use(label)
        if self._kind == "tagged":
            self.query_one("#legend", Static).update(legend(self._labels))

    @on(OptionList.OptionSelected, "#labels")
    def _label_chosen(self, _event: OptionList.OptionSelected) -> None:
        self._save_label()

    @on(Input.Submitted, "#question")
    def _asked(self) -> None:
        self.set_focus(self.query_one(MarkedWords))

    @on(TextArea.Changed)
    def _typed_something(self, event: TextArea.Changed) -> None:
        """What steers a terminal may have been pasted: it is left out."""
        area, self._warned = event.text_area, False
        if rows.clean(area.text) != area.text:
            area.text = rows.clean(area.text)
            area.move_cursor(area.document.end)

    def action_back(self) -> None:
        """Leave; what was typed and not saved is asked for once."""
        found = self.annotation
        if found is not None and self._unsaved() and not self._warned:
            self._warned = True
            self._say(_("This row is not saved yet: ^s saves it, Esc again leaves without it."), "$warning")
            return
        self.dismiss(str(found.path) if found is not None and found.rows else None)

    def _unsaved(self) -> bool:
        if self._kind == "chat":
            return (self._typed("prompt"), self._typed("answer")) != tuple(map(str.strip, self._began))
        if self.has_class("-typing"):
            return bool(self._typed("text"))
        typed = self._kind == "question" and bool(self.query_one(Input).value.strip())
        return typed or (self._kind == "tagged" and bool(self.query_one(MarkedWords).marks))

    def _area(self, id: str) -> TextArea:
        return self.query_one(f"#{id}", TextArea)

    def _typed(self, id: str) -> str:
        return rows.clean(self._area(id).text).strip()

    def _say(self, words: str, style: str = "$dim") -> None:
        self.query_one("#hint", Static).update(block(words).stylize(style))
