"""The sandbox's receiver of notices: it checks the signature of each, and prints it to its log.

``tidegate sandbox logs control/notices`` shows what people would have been told. A line of JSON stands for each
request: what became of it, who signed it, and the notice.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

from sandbox.layout import HOST, NOTICE_SECRET, NOTICE_TARGET, Layout
from sandbox.spec import Folder, ProcessSpec, TcpProbe
from tidegate.notices.sink import Got, Sink

NAME = "control/notices"
_ROOT = Path(__file__).parents[1]


def notices_spec(folder: Folder, layout: Layout) -> ProcessSpec:
    """Say how it is started."""
    folder.part_path(NAME).mkdir(parents=True, exist_ok=True)
    return ProcessSpec(
        name=NAME,
        argv=[sys.executable, "-m", "sandbox.notices", str(layout.notices)],
        cwd=_ROOT,
        ready=TcpProbe(port=layout.notices),
        grace_s=2.0,
        endpoint=f"http://{HOST}:{layout.notices}",
    )


def say(got: Got) -> None:
    """One line, at once: who looks at the log looks now."""
    told = {
        "at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
        "status": got.status,
        "signed": got.signed,
        "again": got.again,
        "text": got.text,
        "notice": got.body,
    }
    sys.stdout.write(json.dumps(told, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def main(port: int) -> int:
    """Listen until told to end."""
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    with Sink(secrets={NOTICE_TARGET: NOTICE_SECRET}, port=port, said=say):
        done.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
