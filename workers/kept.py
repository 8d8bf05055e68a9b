"""What stands in the folder of an operation that has a server of its own: what was asked, and how one comes back."""

from __future__ import annotations

import shlex
from datetime import datetime
from pathlib import Path

from tidegate.errors import InvalidInput
from tidegate.model.failover import FailoverInput
from tidegate.model.record import Frozen

REQUEST = "operation.json"


class Asked(Frozen):
    """What is in a folder: written before the operation is started, so that a folder is never without it."""

    operation: str
    request: FailoverInput
    began: datetime

    @classmethod
    def read(cls, folder: Path) -> Asked | None:
        """The operation of a folder; None: there is none. Raises InvalidInput: not such a folder."""
        path = folder / REQUEST
        if path.exists():
            try:
                return cls.model_validate_json(path.read_text())
            except ValueError as error:
                raise InvalidInput(f"{path} cannot be read: {error}") from error
        if folder.exists() and any(folder.iterdir()):
            raise InvalidInput(
                f"--keep-server: {folder} has files in it, and none of them is {REQUEST}",
                hint="name an empty folder, or the one that an interrupted break-glass has named",
            )
        return None

    def write(self, folder: Path) -> None:
        """Put it into the folder."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / REQUEST).write_text(self.model_dump_json(indent=1))


def again(folder: Path, deployment: str) -> str:
    """The command that goes on with the operation of a folder."""
    return f"tidegate break-glass failover {deployment} --keep-server {shlex.quote(str(folder))}"
