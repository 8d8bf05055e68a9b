"""What the generator and the auditor raise on purpose. The ledger is a user's program: it uses nothing of ours."""

from __future__ import annotations


class LedgerError(Exception):
    """Base of both. ``exit_code`` is the status that the command ends with."""

    exit_code = 1


class BadInput(LedgerError):
    """What was asked cannot be done as written. The message names the argument or the file."""

    exit_code = 2


class CannotReach(LedgerError):
    """Kafka did not answer in time, or no longer holds what an exact answer needs."""

    exit_code = 5
