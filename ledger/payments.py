"""Which payments are made, in which order: a pure function of the seed, the accounts and how many were made before."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from random import Random

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ledger.faults import BadInput

DRAW = 1_000
AMOUNT_MAX = 100_000


@dataclass(frozen=True)
class PaymentSettings:
    """``accounts`` accounts by Zipf's law: the k-th most frequent has weight 1 / k ** ``skew`` (0: all alike)."""

    accounts: int = 1_000
    skew: float = 1.1
    seed: int = 1


class Position(BaseModel):
    """Where the payments stand: how many were made, and each account's last sequence.

    ``clean`` is false while a generator runs. Found false at a start, that one was killed, and the sequences must be
    read from the topic instead.
    """

    model_config = ConfigDict(extra="forbid")

    clean: bool = True
    made: int = Field(default=0, ge=0)
    sequences: dict[str, int] = Field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Position:
        """Read a state file; a new one begins at nothing. Raises `BadInput` if it is there but cannot be read."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return cls()
        except OSError as error:
            raise BadInput(f"--state {path}: {error.strerror}") from error
        except ValidationError as error:
            raise BadInput(f"--state {path}: not a state file of the generator: {error.errors()[0]['msg']}") from error

    def save(self, path: Path) -> None:
        """Replace the file in one step: a reader sees the old one or the new one, also after a crash."""
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(self.model_dump(), file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)


@dataclass
class Payments:
    """Endless (key, value) pairs; ``position`` moves with each. Accounts a00001, a00002, … by falling frequency."""

    settings: PaymentSettings
    position: Position = field(default_factory=Position)

    def take_back(self, name: bytes) -> None:
        """The newest payment, of that account, was not handed over after all: the next run makes it again."""
        self.position.made -= 1
        self.position.sequences[name.decode()] -= 1

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        settings, position = self.settings, self.position
        names = [f"a{rank:05d}" for rank in range(1, settings.accounts + 1)]
        weights = list(accumulate(rank**-settings.skew for rank in range(1, settings.accounts + 1)))
        sequences = position.sequences
        while True:
            # Seeded anew each DRAW payments by how many were made: a later run goes on as if there had been one.
            block, skip = divmod(position.made, DRAW)
            random = Random(f"{settings.seed}:{block}")
            drawn = random.choices(names, cum_weights=weights, k=DRAW)
            amounts = [random.randint(-AMOUNT_MAX, AMOUNT_MAX) for _ in range(DRAW)]
            for name, amount in zip(drawn[skip:], amounts[skip:], strict=True):
                sequence = sequences.get(name, 0) + 1
                sequences[name] = sequence
                position.made += 1
                yield name.encode(), f"{name}:{sequence},{name},{sequence},{amount}".encode()
