"""The top line: where we are, and the run that this process trains."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.css.scalar import Scalar
from textual.widgets import Static

from tui_tuner.ui.words import safe, state_content


class TopBar(Horizontal):
    """One line. The right end shows the hosted run, unless the screen has words of its own.

    Each end has half of the line, and what the other one leaves.
    """

    DEFAULT_CSS = """
    TopBar { height: 1; dock: top; background: $panel; padding: 0 1; }
    TopBar > #crumb { width: 1fr; height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
    TopBar > #hosted { width: auto; height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    def __init__(self, crumb: Content) -> None:
        super().__init__()
        self._crumb = crumb
        self._shown = ""
        self._own: Content | None = None

    def on_resize(self) -> None:
        self._share()

    def _share(self) -> None:
        """Give the right end what the left one leaves, and at least half."""
        width = self.content_size.width
        hosted = self.query_one("#hosted", Static)
        most = max(width // 2, width - self._led().cell_length - 2)
        if width and hosted.styles.max_width != Scalar.from_number(most):
            hosted.styles.max_width = most

    def compose(self) -> ComposeResult:
        yield Static(self._led(), id="crumb")
        yield Static("", id="hosted")

    def on_mount(self) -> None:
        self.set_interval(1.0, self._look)
        self._look()

    def lead(self, crumb: Content) -> None:
        """Say that we are elsewhere, or look at something else."""
        if crumb.markup != self._crumb.markup:
            self._crumb = crumb
            self.query_one("#crumb", Static).update(self._led())
            self._share()

    def _led(self) -> Content:
        name = ("tui-tuner", "bold $primary")
        parts = (name, ("  ›  ", "$dim"), self._crumb) if self._crumb.plain else (name,)
        return Content.assemble(*parts)

    def say(self, content: Content) -> None:
        """Put the screen's own words at the right end, for good."""
        self._own = content
        self._put(content)

    def _put(self, content: Content) -> None:
        """Put words there, after how far a model is that is fetched."""
        share = _fetched(self.app)
        if share:
            content = Content.assemble((share, "$primary"), "  ", content)
        if content.markup != self._shown:
            self._shown = content.markup
            self.query_one("#hosted", Static).update(content)

    def _look(self) -> None:
        app = self.app
        if not self.screen.is_active:
            return
        if self._own is not None:
            self._put(self._own)
            return
        host = getattr(app, "host", None)
        if host is None or not app.training:  # type: ignore[attr-defined]
            self._put(Content(""))
            return
        follower = app.follow(host.folder)  # type: ignore[attr-defined]
        view = follower.view
        share = f" {view.step / view.total_steps:.0%}" if view.total_steps else ""
        self._put(
            Content.assemble(
                state_content(follower.state(), False, view.verdict_name),
                " ",
                safe(host.folder.name, 30),
                share,
            )
        )


def _fetched(app: object) -> str:
    """How far the model is that is fetched now; empty where there is none."""
    job = getattr(app, "fetching", None)
    if job is None:
        return ""
    return f"⇣ {job.share:.0%}" if job.share is not None else "⇣"
