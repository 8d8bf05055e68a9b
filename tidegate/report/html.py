"""A page as one self-contained HTML file: no script, no reference to anything outside."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from tidegate.report.page import Page
from tidegate.report.timeline import Picture


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("tidegate.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("report.html.j2")


def html(page: Page, pictures: tuple[Picture, ...]) -> str:
    """The whole report. Every value is escaped by the template engine."""
    return _template().render(page=page, pictures=pictures)
