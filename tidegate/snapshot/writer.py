"""Writes ``_metadata`` part by part, each as its format version has it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tidegate.snapshot.channels import Direction
from tidegate.snapshot.cursor import i32_bytes, i64_bytes, utf_bytes
from tidegate.snapshot.encode import Pieces, write_channels, write_keyed, write_operator_state, write_stream
from tidegate.snapshot.handles import OperatorStateHandle
from tidegate.snapshot.parts import (
    MAGIC,
    MASTER_STATE_MAGIC,
    VERSIONS,
    WITH_COORDINATORS,
    WITH_MASTER_STATES,
    WITH_NAMES,
    WITH_PROPERTIES,
    WITH_REFERENCES,
    WITH_TYPED_CHANNELS,
    End,
    Head,
    OldState,
    OperatorHead,
    Part,
    SubtaskState,
)


def write_parts(parts: Iterable[Part]) -> Iterator[bytes]:
    """The bytes of a ``_metadata``, a piece for each part.

    Raises ValueError for parts out of order, counts that are not those of what follows, and what the format cannot say.
    """
    version, operators, subtasks, ended = 0, 0, 0, False
    for part in parts:
        out: Pieces = []
        expected = (
            (OperatorHead if operators else End,) if version and not subtasks else (SubtaskState if version else Head,)
        )
        if ended or not isinstance(part, expected):
            raise ValueError(f"a {type(part).__name__} stands where a {expected[0].__name__} is due")
        if isinstance(part, Head):
            version, operators = part.version, part.operators
            _write_head(out, part)
        elif isinstance(part, OperatorHead):
            operators, subtasks = operators - 1, part.subtasks or 0
            _write_operator_head(out, part, version)
        elif isinstance(part, SubtaskState):
            subtasks -= 1
            _write_subtask(out, part, version)
        else:
            ended = True
            _needs((part.properties is not None) == (version >= WITH_PROPERTIES), version, "properties")
            out += (b"" if part.properties is None else part.properties.to_bytes(), part.trailing)
        yield b"".join(out)
    if not ended:
        raise ValueError("the parts end without an End")


def _needs(fits: bool, version: int, what: str) -> None:
    if not fits:
        raise ValueError(f"format {version} does not go with {what}")


def _write_head(out: Pieces, head: Head) -> None:
    _needs(head.version in VERSIONS, head.version, "any _metadata")
    _needs(not head.master_states or head.version >= WITH_MASTER_STATES, head.version, "master states")
    out += (i32_bytes(MAGIC), i32_bytes(head.version), i64_bytes(head.checkpoint_id))
    if head.version >= WITH_MASTER_STATES:
        out.append(i32_bytes(len(head.master_states)))
    for state in head.master_states:
        body = i32_bytes(state.version) + utf_bytes(state.name) + i32_bytes(len(state.content)) + state.content
        out += (i32_bytes(MASTER_STATE_MAGIC), i32_bytes(len(body)), body)
    out.append(i32_bytes(head.operators))


def _write_operator_head(out: Pieces, head: OperatorHead, version: int) -> None:
    if version >= WITH_NAMES:
        out += (utf_bytes(head.name or ""), utf_bytes(head.uid or ""))
    else:
        _needs(head.name is None and head.uid is None, version, "names and uids")
    operator_id = bytes.fromhex(head.operator_id)
    if len(operator_id) != 16:
        raise ValueError(f"operator id {head.operator_id!r} is not 32 hex digits")
    out += (operator_id, i32_bytes(head.parallelism), i32_bytes(head.max_parallelism))
    if version >= WITH_COORDINATORS:
        _needs(head.chain_length is None, version, "a chain length")
        write_stream(out, head.coordinator)
    else:
        _needs(head.coordinator is None and head.subtasks is not None, version, "coordinators and finished operators")
        out.append(i32_bytes(1 if head.chain_length is None else head.chain_length))
    out.append(i32_bytes(-1 if head.subtasks is None else head.subtasks))


def _write_subtask(out: Pieces, state: SubtaskState, version: int) -> None:
    if version < WITH_COORDINATORS:
        _write_old_subtask(out, state, version)
        return
    _needs(state.old is None, version, "state of formats 1 and 2")
    if state.finished:
        out.append(i32_bytes(-state.index - 1))
        return
    out.append(i32_bytes(state.index))
    _write_flagged(out, state.managed_operator)
    _write_flagged(out, state.raw_operator)
    write_keyed(out, state.managed_keyed)
    write_keyed(out, state.raw_keyed)
    typed = version >= WITH_TYPED_CHANNELS
    write_channels(out, state.input_channels, Direction.INPUT, typed)
    write_channels(out, state.output_channels, Direction.OUTPUT, typed)
    if version >= WITH_REFERENCES:
        ref = state.ref_checkpoint_id
        out.append(b"\x00" if ref is None else b"\x01" + i64_bytes(ref))
    else:
        _needs(state.ref_checkpoint_id is None, version, "a reference to another checkpoint")


def _write_old_subtask(out: Pieces, state: SubtaskState, version: int) -> None:
    newer = state.finished or state.input_channels or state.output_channels or state.ref_checkpoint_id is not None
    _needs(not newer, version, "finished subtasks, channel state and references")
    old = state.old or OldState()
    out += (i32_bytes(state.index), i64_bytes(old.duration_ms), i32_bytes(len(old.legacy)))
    for stream in old.legacy:
        write_stream(out, stream)
    if version == 1:
        _needs(state.managed_operator is None and state.raw_operator is None, 1, "operator state outside of the chain")
        for chain in (old.managed_chain, old.raw_chain):
            out.append(i32_bytes(len(chain)))
            for handle in chain:
                write_operator_state(out, handle)
    else:
        _needs(not old.managed_chain and not old.raw_chain, version, "operator state by chain")
        _write_flagged(out, state.managed_operator)
        _write_flagged(out, state.raw_operator)
    write_keyed(out, state.managed_keyed)
    write_keyed(out, state.raw_keyed)


def _write_flagged(out: Pieces, handle: OperatorStateHandle | None) -> None:
    out.append(i32_bytes(int(handle is not None)))
    if handle is not None:
        write_operator_state(out, handle)
