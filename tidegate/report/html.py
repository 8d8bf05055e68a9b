"""A page as one self-contained HTML file: no script, no reference to anything outside."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from tidegate.report.page import Page
from tidegate.report.timeline import Picture


@cache
def style() -> str:
    """What every page of ours looks like: the rules of the report's template."""
    loader = PackageLoader("tidegate.report")
    source, _, _ = loader.get_source(Environment(autoescape=True), "report.html.j2")
    return source.partition("<style>")[2].partition("</style>")[0].strip()


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
