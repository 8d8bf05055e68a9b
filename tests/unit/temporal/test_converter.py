from __future__ import annotations

from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from tidegate.model.inputs import UpgradeInput
from tidegate.model.operation import OperationResult, Outcome
from tidegate.temporal.converter import data_converter


def _through(value: Any, type_: type) -> Any:
    converter = data_converter.payload_converter
    return converter.from_payloads(converter.to_payloads([value]), [type_])[0]


def test_models_cross_unchanged() -> None:
    request = UpgradeInput(deployment="ledger", to="v2", bake_s=1.5)
    assert _through(request, UpgradeInput) == request
    result = OperationResult(
        operation="o", runbook="R", deployment="ledger", outcome=Outcome.DONE, summary="v2 runs", plan=None
    )
    assert _through(result, OperationResult) == result


@pytest.mark.parametrize(
    ("value", "fields"),
    [
        ({"deployment": "ledger"}, ["to"]),
        ({"deployment": "ledger", "to": "v2", "bake": 3}, ["bake"]),
        ({"deployment": "ledger", "to": "v2", "take_over": {"why": ""}}, ["take_over.why"]),
        ({"to": "v2", "bake_s": -1}, ["deployment", "bake_s"]),
        ("ledger", ["UpgradeInput"]),
    ],
)
def test_what_does_not_fit_is_final_and_names_the_fields(value: object, fields: list[str]) -> None:
    with pytest.raises(ApplicationError) as refused:
        _through(value, UpgradeInput)
    assert refused.value.type == "InvalidInput"
    assert refused.value.non_retryable
    assert refused.value.details[2] == {"fields": fields}
    assert all(field in refused.value.message for field in fields)
