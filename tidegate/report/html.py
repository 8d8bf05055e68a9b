"""A page as one self-contained HTML file: no script, no reference to anything outside."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from tidegate.report.page import Page
from tidegate.report.timeline import Picture


@cache
def style() -> str:
    """What every page of ours looks like."""
    return template("page.css.j2").render().strip()


@cache
def template(name: str) -> Template:
    """A page's template. Every value that it prints is escaped."""
    environment = Environment(
        loader=PackageLoader("tidegate.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(name)


def html(page: Page, pictures: tuple[Picture, ...]) -> str:
    """The whole report. Every value is escaped by the template engine."""
    return template("report.html.j2").render(page=page, pictures=pictures)
