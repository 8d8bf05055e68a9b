"""What workflows call is what workers register: the same names, inputs and facts."""

from __future__ import annotations

from typing import Any, cast

import pytest
from temporalio import activity
from temporalio.client import Client

from activities.contracts import CONTRACTS
from activities.registration import all_activities
from activities.sites import Sites


def _implementations() -> dict[str, activity._Definition]:
    found = (
        activity._Definition.must_from_callable(one)
        for one in all_activities(cast("Sites", object()), cast("Client", object()))
    )
    return {str(one.name): one for one in found}


def test_every_contract_has_its_implementation_and_no_more() -> None:
    assert set(_implementations()) == set(CONTRACTS)


@pytest.mark.parametrize("name", sorted(CONTRACTS))
def test_inputs_and_facts_are_the_same(name: str) -> None:
    contract = activity._Definition.must_from_callable(CONTRACTS[name])
    implementation = _implementations()[name]
    assert implementation.arg_types == contract.arg_types
    assert implementation.ret_type == contract.ret_type


@pytest.mark.parametrize("name", sorted(CONTRACTS))
async def test_a_contract_does_nothing_itself(name: str) -> None:
    contract: Any = CONTRACTS[name]
    arg_types = activity._Definition.must_from_callable(contract).arg_types
    assert arg_types is not None
    with pytest.raises(RuntimeError, match=f"{name}.*is a contract"):
        await contract(_Anything())


class _Anything:
    def __getattr__(self, name: str) -> Any:
        return self if name in {"held", "artifact"} else name
