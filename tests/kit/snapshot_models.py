"""Hypothesis strategies of whole ``_metadata`` models, made by hand: every kind of handle, in every format."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.kit import snapshot_bytes as w
from tidegate.snapshot.channels import AnyChannelHandle, ChannelHandle, Direction, MergedChannelHandle
from tidegate.snapshot.cursor import Cursor
from tidegate.snapshot.handles import (
    CHANGELOG_FILES_V1,
    CHANGELOG_FILES_V2,
    CHANGELOG_V1,
    CHANGELOG_V2,
    INCREMENTAL_V1,
    INCREMENTAL_V2,
    KEY_GROUPS_SAVEPOINT,
    KEY_GROUPS_V1,
    KEY_GROUPS_V2,
    ChangelogFilesHandle,
    ChangelogHandle,
    ChangelogInlineHandle,
    EmptySegmentHandle,
    FileHandle,
    IncrementalHandle,
    InlineHandle,
    KeyedHandle,
    KeyGroupsHandle,
    KeyGroupsStream,
    ListState,
    MergedDirectories,
    Mode,
    OperatorStateHandle,
    RelativeHandle,
    Scope,
    SegmentHandle,
    StreamHandle,
)
from tidegate.snapshot.metadata import MasterState, Metadata, Operator, SubtaskState
from tidegate.snapshot.parts import OldState
from tidegate.snapshot.properties import NO_PROPERTIES, read_properties

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
i32s = st.integers(-(1 << 31), (1 << 31) - 1)
i64s = st.integers(-(1 << 63), (1 << 63) - 1)
sizes = st.none() | st.integers(0, 1 << 40)
offsets = st.lists(i64s, max_size=3).map(tuple)
blobs = st.binary(max_size=12)
first_key_groups = st.integers(0, 1000)
counts = st.integers(0, 100)

inline = st.builds(InlineHandle, texts, blobs)
segments = st.builds(
    SegmentHandle, texts, st.integers(0, 1 << 40), st.integers(0, 1 << 40), st.sampled_from(Scope), texts
)
plain_streams: st.SearchStrategy[StreamHandle] = st.one_of(
    inline,
    st.builds(FileHandle, texts, sizes),
    st.builds(RelativeHandle, texts, sizes),
    segments,
    st.just(EmptySegmentHandle()),
)
streams: st.SearchStrategy[StreamHandle] = plain_streams | st.builds(
    KeyGroupsStream, first_key_groups, offsets, plain_streams
)
named_streams = st.lists(st.tuples(texts, streams), max_size=3).map(tuple)

key_groups = st.builds(KeyGroupsHandle, first_key_groups, offsets, streams, st.just(KEY_GROUPS_V2), texts) | st.builds(
    KeyGroupsHandle, first_key_groups, offsets, streams, st.sampled_from((KEY_GROUPS_V1, KEY_GROUPS_SAVEPOINT))
)


@st.composite
def incremental(draw: st.DrawFn) -> IncrementalHandle:
    new = draw(st.booleans())
    return IncrementalHandle(
        draw(i64s),
        draw(texts),
        draw(first_key_groups),
        draw(counts),
        draw(i64s) if new else None,
        draw(streams),
        draw(named_streams),
        draw(named_streams),
        INCREMENTAL_V2 if new else INCREMENTAL_V1,
        draw(texts) if new else None,
    )


changelog_inline = st.builds(
    ChangelogInlineHandle,
    first_key_groups,
    counts,
    i64s,
    i64s,
    st.lists(st.tuples(i32s, blobs), max_size=3).map(tuple),
    texts,
)


@st.composite
def changelog_files(draw: st.DrawFn) -> ChangelogFilesHandle:
    new = draw(st.booleans())
    changes = draw(st.lists(st.tuples(i64s, streams), max_size=3).map(tuple))
    return ChangelogFilesHandle(
        draw(first_key_groups),
        draw(counts),
        changes,
        draw(i64s),
        draw(i64s),
        draw(texts),
        draw(texts) if new else None,
        CHANGELOG_FILES_V2 if new else CHANGELOG_FILES_V1,
    )


@st.composite
def changelog(draw: st.DrawFn, materialized: st.SearchStrategy[Any]) -> ChangelogHandle:
    new = draw(st.booleans())
    return ChangelogHandle(
        draw(first_key_groups),
        draw(counts),
        draw(i64s),
        draw(st.lists(st.none() | materialized, max_size=2).map(tuple)),
        draw(st.lists(changelog_inline | changelog_files(), max_size=2).map(tuple)),
        draw(i64s),
        draw(i64s) if new else None,
        draw(texts),
        CHANGELOG_V2 if new else CHANGELOG_V1,
    )


simple_keyed: st.SearchStrategy[KeyedHandle] = st.one_of(key_groups, incremental())
keyed: st.SearchStrategy[KeyedHandle | None] = st.one_of(
    st.none(), simple_keyed, changelog(simple_keyed), changelog(changelog(simple_keyed)), changelog_files()
)
list_states = st.lists(st.builds(ListState, texts, st.sampled_from(Mode), offsets), max_size=3).map(tuple)
operator_states = st.builds(OperatorStateHandle, list_states, streams) | st.builds(
    OperatorStateHandle,
    list_states,
    segments | st.just(EmptySegmentHandle()),
    st.builds(MergedDirectories, texts, texts, st.booleans()),
)


@st.composite
def channels(draw: st.DrawFn, direction: Direction, typed: bool) -> tuple[AnyChannelHandle, ...]:
    plain = st.builds(ChannelHandle, st.just(direction), i32s, i32s, i32s, offsets, i64s, streams)
    merged = st.builds(MergedChannelHandle, st.just(direction), i32s, i64s, streams, blobs)
    return tuple(draw(st.lists(plain | merged if typed else plain, max_size=2)))


@st.composite
def subtasks(draw: st.DrawFn, version: int, index: int) -> SubtaskState:
    managed, raw = draw(st.none() | operator_states), draw(st.none() | operator_states)
    managed_keyed, raw_keyed = draw(keyed), draw(keyed)
    if version < 3:
        legacy = draw(st.lists(st.none() | streams, max_size=2).map(tuple))
        chains = [
            draw(st.lists(st.none() | operator_states, max_size=2).map(tuple)) if version == 1 else () for _ in "ab"
        ]
        old = OldState(draw(i64s), legacy, chains[0], chains[1])
        if version == 1:
            managed = raw = None
        return SubtaskState(index, False, managed, raw, managed_keyed, raw_keyed, old=old)
    if draw(st.integers(0, 4)) == 0:
        return SubtaskState(index, finished=True)
    return SubtaskState(
        index,
        False,
        managed,
        raw,
        managed_keyed,
        raw_keyed,
        draw(channels(Direction.INPUT, version >= 6)),
        draw(channels(Direction.OUTPUT, version >= 6)),
        draw(st.none() | i64s) if version >= 7 else None,
    )


@st.composite
def operators(draw: st.DrawFn, version: int) -> Operator:
    parallelism = draw(st.integers(1, 3))
    finished = version >= 3 and draw(st.integers(0, 4)) == 0
    indices = [] if finished else draw(st.permutations(range(parallelism)))[: draw(st.integers(0, parallelism))]
    return Operator(
        draw(texts) or None if version >= 5 else None,
        draw(texts) or None if version >= 5 else None,
        draw(st.binary(min_size=16, max_size=16)).hex(),
        parallelism,
        draw(st.integers(parallelism, 1 << 15)),
        draw(st.none() | inline) if version >= 3 and not finished else None,
        finished,
        {index: draw(subtasks(version, index)) for index in indices},
        draw(i32s) if version < 3 else None,
    )


@st.composite
def models(draw: st.DrawFn, version: int) -> Metadata:
    found = draw(st.lists(operators(version), max_size=3, unique_by=lambda operator: operator.operator_id))
    masters = draw(st.lists(st.builds(MasterState, i32s, texts, blobs), max_size=2)) if version >= 2 else []
    properties = draw(st.sampled_from((NO_PROPERTIES, read_properties(Cursor(w.TAIL))))) if version >= 4 else None
    return Metadata(version, draw(st.integers(0, (1 << 63) - 1)), tuple(masters), tuple(found), properties, draw(blobs))
