"""The generator's payments and pace: dense sequences, the same for the same seed, steady and never a flood."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest

from ledger.faults import BadInput
from ledger.pacing import Pace
from ledger.payments import Payments, PaymentSettings, Position


def take(count: int, settings: PaymentSettings | None = None, position: Position | None = None) -> list[bytes]:
    payments = Payments(settings or PaymentSettings(), position or Position())
    return [value for _, value in islice(payments, count)]


def test_sequences_are_dense_per_account_and_ids_follow():
    seen: Counter[str] = Counter()
    for key, value in islice(Payments(PaymentSettings(accounts=20)), 5_000):
        rid, account, sequence, amount = value.decode().split(",")
        seen[account] += 1
        assert (int(sequence), rid, key.decode()) == (seen[account], f"{account}:{sequence}", account)
        assert str(int(amount)) == amount


def test_the_same_seed_makes_the_same_and_another_does_not():
    assert take(3_000) == take(3_000)
    assert take(3_000) != take(3_000, PaymentSettings(seed=2))


@pytest.mark.parametrize("cut", [1, 999, 1_000, 1_001, 2_500])
def test_a_later_run_goes_on_as_if_there_had_been_one(tmp_path, cut):
    whole = take(3_000)
    position = Position()
    first = take(cut, position=position)
    position.save(tmp_path / "state.json")
    rest = take(3_000 - cut, position=Position.load(tmp_path / "state.json"))
    assert first + rest == whole


def test_accounts_are_skewed():
    counts = Counter(value.split(b",")[1] for value in take(20_000))
    common = counts.most_common(1)[0]
    assert common[0] == b"a00001"
    assert common[1] > 20_000 * 0.1
    even = Counter(value.split(b",")[1] for value in take(20_000, PaymentSettings(accounts=10, skew=0)))
    assert max(even.values()) < 1.2 * min(even.values())


def test_what_was_taken_back_is_made_again(tmp_path):
    position = Position()
    payments = Payments(PaymentSettings(), position)
    made = list(islice(payments, 10))
    payments.take_back(made[-1][0])
    assert take(1, position=position) == [made[-1][1]]


def test_a_state_file_that_is_none_is_named(tmp_path):
    path = tmp_path / "state.json"
    path.write_text('{"clean": 7')
    with pytest.raises(BadInput, match=r"state\.json: not a state file"):
        Position.load(path)


class TestPace:
    def test_steady(self):
        pace, made = Pace(1_000, 0.0), 0
        for tick in range(1, 1_001):
            due = pace.due(tick / 100)
            assert due == 10
            pace.made(due)
            made += due
        assert made == 10_000

    def test_a_short_stall_is_made_up(self):
        pace = Pace(1_000, 0.0)
        assert pace.due(0.8) == 800

    def test_of_a_long_stall_only_a_second_is_made_up(self):
        pace = Pace(1_000, 0.0)
        assert pace.due(60.0) == 1_000
        pace.made(1_000)
        assert pace.due(60.0) == 0
        assert pace.due(60.1) == 100

    def test_slow_rates_make_the_first_one_in_its_time(self):
        pace = Pace(0.5, 0.0)
        assert pace.due(1.9) == 0
        assert pace.next_in_s(1.5) == pytest.approx(0.5)
        assert pace.due(2.0) == 1
