from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from tidegate.errors import InvalidInput
from tidegate.model.fleet import CellRef, Fleet, Secret, render_args, render_audit

SANDBOX = Path(__file__).parents[3] / "runbooks" / "fleet-sandbox.yaml"


def frozen(value):
    if isinstance(value, list):
        return tuple(frozen(item) for item in value)
    if isinstance(value, dict):
        return {key: frozen(item) for key, item in value.items()}
    return value


def data() -> dict:
    return frozen(yaml.safe_load(SANDBOX.read_text()))


@pytest.fixture
def fleet() -> Fleet:
    return Fleet.model_validate(data())


def test_x13_prefix_and_all_other_placeholders_are_rendered(fleet):
    args = render_args(fleet, "ledger", "west", "cell-1", 7)
    assert args[:2] == ["--bootstrap", "127.0.0.1:27200"]
    assert args[args.index("--transactional-prefix") + 1] == "tg.ledger.balances-sink.e00000007."
    assert args[args.index("--group") + 1] == "ledger"
    assert args[args.index("--transaction-timeout-ms") + 1] == "600000"
    assert 'username="ledger" password="ledger-secret";' in args[-1]
    audit = render_audit(fleet, "ledger", "east", "cell-1", 7)
    assert audit[audit.index("--bootstrap") + 1] == "127.0.0.1:27100"
    assert "sasl.password=admin-secret" in audit


def test_secrets_are_never_shown(fleet):
    for shown in (repr(fleet), str(fleet), fleet.model_dump_json(), repr(fleet.model_dump())):
        for value in ("tidegate-sandbox", "admin-secret", "ledger-secret"):
            assert value not in shown


def test_a_fleet_that_lost_its_secrets_in_json_is_refused(fleet):
    with pytest.raises(ValidationError, match="read the fleet file itself"):
        Fleet.model_validate_json(fleet.model_dump_json())


def test_secret_sources(monkeypatch, tmp_path):
    secret = Secret(env="TIDEGATE_TEST_SECRET")
    secret.is_field("control.s3.secret_key")
    monkeypatch.delenv("TIDEGATE_TEST_SECRET", raising=False)
    with pytest.raises(InvalidInput, match=r"control\.s3\.secret_key: .* TIDEGATE_TEST_SECRET is not set"):
        secret.resolve()
    monkeypatch.setenv("TIDEGATE_TEST_SECRET", "x y")
    assert secret.resolve() == "x y"
    path = tmp_path / "secret"
    with pytest.raises(InvalidInput, match=f"cannot read the file {path}: No such file"):
        Secret(file=str(path)).resolve()
    path.write_text("s3cret\n")
    assert Secret(file=str(path)).resolve() == "s3cret"
    path.write_text("\n")
    with pytest.raises(InvalidInput, match="is empty"):
        Secret(file=str(path)).resolve()
    with pytest.raises(ValidationError, match="just one of"):
        Secret(env="A", file="b")
    with pytest.raises(ValidationError, match="just one of"):
        Secret()


def test_secret_fields_are_named_in_a_fleet():
    raw = data()
    raw["regions"]["east"]["kafka"]["security"]["password"] = {"env": "TIDEGATE_NO_SUCH"}
    fleet = Fleet.model_validate(raw)
    with pytest.raises(InvalidInput, match=r"^regions\.east\.kafka\.security\.password: "):
        fleet.region("east").kafka.security.password.resolve()


def test_lookups_tell_what_there_is(fleet):
    assert fleet.home_of("ledger")[0] == CellRef("east", "cell-1")
    assert str(CellRef("east", "cell-1")) == "east/cell-1"
    with pytest.raises(InvalidInput) as error:
        fleet.deployment("ledgr")
    assert error.value.message == "no such deployment: ledgr (did you mean ledger?)"
    assert error.value.hint == "known: ledger"
    with pytest.raises(InvalidInput, match="no such region: eats"):
        fleet.cell("eats/cell-1")
    with pytest.raises(InvalidInput, match="no such cell in east: cell-2"):
        fleet.cell("east/cell-2")
    with pytest.raises(InvalidInput, match="not a cell"):
        fleet.cell("east")
    with pytest.raises(InvalidInput, match="no such artifact of ledger: v3"):
        fleet.artifact("ledger", "v3")


def test_x27_readers(fleet):
    assert fleet.readers_of("ledger", "v2") == {"v1", "v2"}
    assert fleet.readers_of("ledger", "v2-crash-late-unreadable") == {"v2-crash-late-unreadable"}
