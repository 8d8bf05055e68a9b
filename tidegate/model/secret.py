"""A secret in the fleet file: named (an environment variable, a file), or literal where it protects nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from tidegate.errors import InvalidInput


class Secret(BaseModel):
    """Just one of ``env``, ``file`` and ``literal``. Neither repr nor JSON shows a value.

    A model that went through JSON has lost its literals, and is refused when it comes back: an operation carries the
    fleet file's digest and reads the file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    env: str | None = Field(default=None, min_length=1, description="an environment variable's name")
    file: str | None = Field(default=None, min_length=1, description="a file's path")
    literal: SecretStr | None = Field(default=None, min_length=1, description="the value, on loopback only")
    _field: str = PrivateAttr(default="secret")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(given is not None for given in (self.env, self.file, self.literal)) != 1:
            raise PydanticCustomError(
                "secret",
                "expected just one of {env: NAME}, {file: PATH} and {literal: VALUE}",
            )
        if self.literal is not None and set(self.literal.get_secret_value()) == {"*"}:
            raise PydanticCustomError(
                "secret", "a value that was hidden when it was written; read the fleet file itself"
            )
        return self

    def is_field(self, field: str) -> None:
        """Tell the secret where in the fleet file it stands, for its errors."""
        self._field = field

    def resolve(self) -> str:
        """The value; of a file its text without the last line end. Raises InvalidInput naming the source and field."""
        if self.literal is not None:
            return self.literal.get_secret_value()
        if self.env is not None:
            value = os.environ.get(self.env)
            if not value:
                msg = f"{self._field}: the environment variable {self.env} is {'empty' if value == '' else 'not set'}"
                raise InvalidInput(msg, hint=f"set {self.env} for this command and for the workers")
            return value
        path = Path(self.file or "")
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            msg = f"{self._field}: cannot read the file {path}: {error.strerror}"
            raise InvalidInput(msg, hint="the command line and the workers both read it") from error
        except UnicodeDecodeError as error:
            msg = f"{self._field}: the file {path} is not UTF-8 text"
            raise InvalidInput(msg) from error
        text = text.removesuffix("\n").removesuffix("\r")
        if not text:
            msg = f"{self._field}: the file {path} is empty"
            raise InvalidInput(msg)
        return text

    def __repr__(self) -> str:
        source = f"env={self.env}" if self.env else f"file={self.file}" if self.file else "literal=…"
        return f"Secret({source})"

    __str__ = __repr__
