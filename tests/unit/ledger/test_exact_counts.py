"""Whatever is planted and however the logs interleave, the auditor's counts are exact (I2, X26)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.audit_manifest import Superseded, SupersededRange
from ledger.audit_run import AuditSettings
from tests.unit.ledger.memory import World

FAULTS = ("lost", "duplicated", "wrong", "wrong twice", "replayed", "superseded only", "thrice")


@dataclass
class Plan:
    """Per id the fault planted; beside them outputs that belong to no payment."""

    faults: dict[str, str]
    orphans: int
    strangers: int


@st.composite
def plans(draw: st.DrawFn) -> tuple[list[tuple[str, int, int]], Plan]:
    """Payments (account, sequence, amount) in a random interleaving of accounts, and a plan of faults."""
    lengths = draw(st.lists(st.integers(0, 12), min_size=1, max_size=5))
    turns = draw(st.permutations([f"a{i}" for i, n in enumerate(lengths) for _ in range(n)]))
    sequences: Counter[str] = Counter()
    payments = []
    for account in turns:
        sequences[account] += 1
        payments.append((account, sequences[account], draw(st.integers(-(10**12), 10**12))))
    ids = [f"{account}:{sequence}" for account, sequence, _ in payments]
    faulty = draw(st.lists(st.sampled_from(ids), unique=True, max_size=8)) if ids else []
    plan = Plan(
        faults={rid: draw(st.sampled_from(FAULTS)) for rid in faulty},
        orphans=draw(st.integers(0, 3)),
        strangers=draw(st.integers(0, 3)),
    )
    return payments, plan


@given(plans(), st.randoms(use_true_random=False), st.booleans())
@settings(max_examples=150, deadline=None)
def test_counts_are_exact(case, random, patient):
    payments, plan = case
    world = World()
    superseded: list[tuple[str, bool]] = []
    counting: list[str] = []
    expected: Counter[str] = Counter()
    for account, sequence, amount in payments:
        rid, value = world.pay(account, sequence, amount)
        bad = ",".join([*value.split(",")[:4], str(world.totals[account] + random.choice([-1, 1])), "2"])
        fault = plan.faults.get(rid)
        if fault == "lost":
            expected["lost"] += 1
        elif fault == "duplicated":
            counting += [value, value]
            expected["duplicated"] += 1
        elif fault == "wrong":
            counting.append(bad)
            expected["wrong"] += 1
        elif fault == "wrong twice":
            counting += [bad, bad]
            expected["wrong"] += 2
            expected["duplicated"] += 1
        elif fault == "replayed":
            superseded.append((bad, True))
            counting.append(value)
            expected["replayed"] += 1
        elif fault == "superseded only":
            superseded.append((value, True))
            expected["lost"] += 1
        elif fault == "thrice":
            superseded.append((value, True))
            counting += [value, value]
            expected["replayed"] += 1
            expected["duplicated"] += 1
        else:
            counting.append(value)
    superseded += [(f"z{i}:1,z{i},1,1,1,2", True) for i in range(plan.orphans)]
    counting += [f"y{i}:1,y{i},1,1,1,2" for i in range(plan.strangers)]
    random.shuffle(counting)
    # Superseded copies come first, as in the world: between them others that count.
    stream = [(value, False) for value in counting]
    cut = random.randint(0, len(stream))
    early_ids = {value.split(",")[0] for value, _ in superseded}
    early = [item for item in stream[:cut] if item[0].split(",")[0] not in early_ids]
    late = [item for item in stream[:cut] if item[0].split(",")[0] in early_ids] + stream[cut:]
    first = early + superseded
    random.shuffle(first)
    ranges = []
    for value, skipped in first + late:
        partition, offset = world.answer(value, step_ms=random.randint(0, 30))
        if skipped:
            ranges.append(SupersededRange(partition=partition, first=offset, last=offset))
    random.shuffle(ranges)

    clock = iter(range(10**6))
    verdict = world.audit(
        AuditSettings(superseded=Superseded(ranges), until_caught_up=patient, no_progress_s=3),
        clock=lambda: float(next(clock)) / 10,
        pause=lambda _: None,
    )

    assert verdict.lost + verdict.behind == expected["lost"]
    assert verdict.behind == 0 or patient
    for name in ("duplicated", "wrong", "replayed"):
        assert getattr(verdict, name) == expected[name], name
    assert verdict.unexpected == plan.strangers
    assert (verdict.superseded, verdict.orphans) == (len(superseded), plan.orphans)
    assert (verdict.reordered, verdict.input_holes, verdict.input_unreadable, verdict.ahead) == (0, 0, 0, 0)
    assert verdict.input == len(payments)
    assert verdict.output == len(counting)
    assert verdict.output == verdict.input - verdict.lost - verdict.behind + verdict.duplicated + verdict.unexpected
    named = {sample.id for kind in ("lost", "duplicated", "wrong") for sample in verdict.samples.get(kind, [])}
    if verdict.behind == 0:
        assert named == {rid for rid, fault in plan.faults.items() if fault != "replayed"}
    times = sorted(record[2] for records in world.output.records.values() for record in records)
    pauses = [b - a for a, b in pairwise(times) if b > a]
    assert (verdict.gap_ms or 0) == max(pauses, default=0)
    assert sum(count for _, count in verdict.rate) == len(times)


@given(st.permutations(range(1, 9)), st.data())
@settings(max_examples=100, deadline=None)
def test_any_order_of_the_input_is_judged_by_the_log(order, data):
    """Reorders, holes and repeats of one account: balances are those of the log's order, faults stay visible."""
    order = [*order[: data.draw(st.integers(1, 8))], *data.draw(st.lists(st.sampled_from(order), max_size=3))]
    world = World()
    outputs = [world.pay("a1", sequence, data.draw(st.integers(-50, 50)))[1] for sequence in order]
    for value in data.draw(st.permutations(outputs)):
        world.answer(value)
    victim = data.draw(st.sampled_from(outputs))
    fields = victim.split(",")
    world.answer(",".join([*fields[:3], fields[3], str(10**9), "1"]))

    verdict = world.audit()

    highest, reordered = 0, 0
    for sequence in order:
        reordered += sequence <= highest
        highest = max(highest, sequence)
    assert verdict.reordered == reordered
    assert verdict.input_holes == highest - len(set(order))
    assert (verdict.lost, verdict.duplicated, verdict.wrong, verdict.unexpected) == (0, 1, 1, 0)
