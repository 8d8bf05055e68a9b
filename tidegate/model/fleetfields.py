"""The kinds of text and number that a fleet file holds, each with what is expected in words."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from tidegate.names import DEPLOYMENT_NAME


def refuse_unless(pattern: str | re.Pattern[str], what: str, expected: str) -> Callable[[str], str]:
    """A validator for text: refused in our words unless the pattern matches all of it."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if compiled.fullmatch(value) is None:
            raise PydanticCustomError(
                "text", "{what}: {value}; expected {expected}", {"what": what, "value": value, "expected": expected}
            )
        return value

    return check


Name = Annotated[
    str,
    AfterValidator(
        refuse_unless(
            DEPLOYMENT_NAME, "not a name", "lower-case letters, digits and dashes, a letter first, at most 41"
        )
    ),
]
Uid = Annotated[
    str,
    AfterValidator(
        refuse_unless(
            r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}",
            "not a uid",
            "letters, digits, - and _ (no dots: the uid is a part of the transactional prefix)",
        )
    ),
]
Topic = Annotated[
    str,
    AfterValidator(
        refuse_unless(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}", "not a topic", "letters, digits, '.', '_', '-'")
    ),
]
Bucket = Annotated[
    str,
    AfterValidator(refuse_unless(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", "not a bucket", "an S3 bucket's name")),
]
S3Location = Annotated[
    str,
    AfterValidator(
        refuse_unless(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[^/\s][^\s]*", "not an S3 URI", "s3://BUCKET/KEY")
    ),
]
JarLocation = Annotated[
    S3Location, AfterValidator(refuse_unless(r".*\.jar", "not the URI of a jar", "s3://BUCKET/KEY.jar"))
]
Url = Annotated[
    str,
    AfterValidator(
        refuse_unless(
            r"https?://(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?",
            "not a URL",
            "http://HOST:PORT or https://…",
        )
    ),
]
Bootstrap = Annotated[
    str,
    AfterValidator(
        refuse_unless(
            r"(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}(,(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5})*",
            "not a bootstrap list",
            "HOST:PORT, several with commas and without spaces",
        )
    ),
]
JavaClass = Annotated[
    str,
    AfterValidator(refuse_unless(r"[A-Za-z_$][\w$]*(\.[A-Za-z_$][\w$]*)*", "not a Java class", "as a.b.ClassName")),
]
HomeCell = Annotated[
    str,
    AfterValidator(refuse_unless(r"[a-z][a-z0-9-]{0,40}/[a-z][a-z0-9-]{0,40}", "not a cell", "REGION/CELL")),
]
Text = Annotated[str, Field(min_length=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Days = Annotated[float, Field(gt=0, allow_inf_nan=False)]
