"""The top line: the current place, and the run that this process trains."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.css.scalar import Scalar
from textual.widgets import Static

from tui_tuner.ui.screen_words import make_safe_line, render_run_state


class TopBar(Horizontal):
    """One line. The right end shows the hosted run, unless the screen sets its own text.

    Each end gets half of the line, plus what the other one does not need.
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
        self._share_width()

    def _share_width(self) -> None:
        """Give the right end what the left one does not need, and at least half."""
        width = self.content_size.width
        hosted = self.query_one("#hosted", Static)
        most = max(width // 2, width - self._render_crumb().cell_length - 2)
        # Setting a style causes a layout even if the value is the same.
        if width and hosted.styles.max_width != Scalar.from_number(most):
            hosted.styles.max_width = most

    def compose(self) -> ComposeResult:
        yield Static(self._render_crumb(), id="crumb")
        yield Static("", id="hosted")

    def on_mount(self) -> None:
        self.set_interval(1.0, self._show_host)
        self._show_host()

    def set_crumb(self, crumb: Content) -> None:
        """Change the breadcrumb."""
        if crumb.markup != self._crumb.markup:
            self._crumb = crumb
            self.query_one("#crumb", Static).update(self._render_crumb())
            self._share_width()

    def _render_crumb(self) -> Content:
        name = ("tui-tuner", "bold $primary")
        parts = (name, ("  ›  ", "$dim"), self._crumb) if self._crumb.plain else (name,)
        return Content.assemble(*parts)

    def set_right_words(self, content: Content) -> None:
        """Set the screen's own text for the right end, permanently."""
        self._own = content
        self._put_right_words(content)

    def _put_right_words(self, content: Content) -> None:
        """Show text at the right end, after the progress of a download."""
        share = _format_fetch(self.app)
        if share:
            content = Content.assemble((share, "$primary"), "  ", content)
        if content.markup != self._shown:
            self._shown = content.markup
            self.query_one("#hosted", Static).update(content)

    def _show_host(self) -> None:
        app = self.app
        # Covered screens keep their timers, and need not draw.
        if not self.screen.is_active:
            return
        if self._own is not None:
            self._put_right_words(self._own)
            return
        # Tests show screens in other apps, which host no run.
        host = getattr(app, "host", None)
        if host is None or not app.is_training:  # type: ignore[attr-defined]
            self._put_right_words(Content(""))
            return
        follower = app.follow_run(host.folder)  # type: ignore[attr-defined]
        view = follower.view
        share = f" {view.step / view.total_steps:.0%}" if view.total_steps else ""
        self._put_right_words(
            Content.assemble(
                render_run_state(follower.find_state(), False, view.verdict_name),
                " ",
                make_safe_line(host.folder.name, 30),
                share,
            )
        )


def _format_fetch(app: object) -> str:
    """Format the progress of the current download; empty if there is none."""
    job = getattr(app, "fetching", None)
    if job is None:
        return ""
    return f"⇣ {job.share:.0%}" if job.share is not None else "⇣"
