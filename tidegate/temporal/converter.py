"""The data converter of all our clients and workers: pydantic, and strict about what does not fit.

The stock pydantic converter raises ``ValidationError`` on a bad input, which fails the workflow *task*: the run stays
RUNNING and is retried for ever. Here it becomes a final error that names the fields, so that a bad start is FAILED and
a bad update is refused while the run lives on.
"""

from __future__ import annotations

import typing
from typing import Any

import pydantic
from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import PydanticJSONPlainPayloadConverter
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultPayloadConverter,
    JSONPlainPayloadConverter,
)

from tidegate.errors import InvalidInput
from tidegate.temporal.errors import to_application_error


class StrictJSONConverter(PydanticJSONPlainPayloadConverter):
    """JSON by pydantic; what does not validate is ``InvalidInput``, with each field's dotted name and what is wrong."""

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:  # noqa: ANN401
        """See base class.

        Raises:
            ApplicationError: type InvalidInput, non-retryable, if the payload does not fit the type.

        """
        try:
            return super().from_payload(payload, type_hint)
        except pydantic.ValidationError as error:
            raise to_application_error(invalid_input(error, _name(type_hint))) from error


def _name(type_hint: object) -> str:
    """``UpgradeInput``, also of ``UpgradeInput | None``."""
    names = [getattr(part, "__name__", "") for part in (type_hint, *typing.get_args(type_hint))]
    return next((name for name in names if name and name not in {"NoneType", "Optional", "Union"}), "input")


def invalid_input(error: pydantic.ValidationError, what: str) -> InvalidInput:
    """The fields that do not fit, as our error: ``bake_s: Input should be less than …``."""
    fields = [
        (".".join(str(part) for part in problem["loc"]) or what, problem["msg"])
        for problem in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    text = "; ".join(f"{field}: {message}" for field, message in fields)
    return InvalidInput(f"invalid {what}: {text}", details={"fields": [field for field, _ in fields]})


class StrictPayloadConverter(CompositePayloadConverter):
    """The default converters with the JSON one replaced."""

    def __init__(self) -> None:
        super().__init__(
            *(
                StrictJSONConverter() if isinstance(converter, JSONPlainPayloadConverter) else converter
                for converter in DefaultPayloadConverter.default_encoding_payload_converters
            )
        )


data_converter = DataConverter(payload_converter_class=StrictPayloadConverter)
