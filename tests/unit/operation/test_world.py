"""The simulated region itself: what it takes to be told lost, twice and wrong."""

from __future__ import annotations

from tests.kit.world import world


def test_a_start_an_upgrade_and_back():
    with world() as w:
        w.start("v1")
        op = w.op()
        w.go("a", lambda: op.switch("v2"))
        w.go("b", lambda: op.ensure("v1"))
        w.go("c", op.release)
        judged = w.assert_sound(artifact="v1")
        assert judged.announced == 0
        print(len(w.gate.of("a")), len(w.gate.of("b")))
