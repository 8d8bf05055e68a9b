"""``announce`` in the fleet file: who is told of turns, and mistakes with their place."""

from __future__ import annotations

from tests.unit.fleet.test_fleetfile import SMALL, mistakes
from tidegate.model.fleetfile import load_fleet

TOLD = """\
announce:
  - url: https://hooks.example/turns
    secret: {env: TURNS}
  - url: http://127.0.0.1:9000
    secret: {literal: dev}
deployments:
"""
TEXT = SMALL.replace("deployments:\n", TOLD)


def test_receivers_are_read_in_order_and_their_secrets_know_their_field(monkeypatch):
    monkeypatch.setenv("TURNS", "x")
    fleet = load_fleet(TEXT).fleet
    assert [one.url for one in fleet.announce] == ["https://hooks.example/turns", "http://127.0.0.1:9000"]
    assert [one.secret.resolve() for one in fleet.announce] == ["x", "dev"]
    assert "dev" not in fleet.model_dump_json()
    assert load_fleet(SMALL).fleet.announce == ()


def test_mistakes():
    (literal,) = mistakes(TEXT.replace("{env: TURNS}", "{literal: dev}"))
    assert "announce[0].secret.literal: a literal secret for hooks.example, which is not loopback" in literal
    (url,) = mistakes(TEXT.replace("https://hooks.example/turns", "hooks.example"))
    assert "announce[0].url" in url
    assert "https://" in url
    (missing,) = mistakes(TEXT.replace("    secret: {env: TURNS}\n", ""))
    assert "announce[0].secret: missing" in missing
