"""What lies in a store, listed once and looked at often: many snapshots are checked by listing few directories."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.clients.objects import ObjectInfo, ObjectStore, S3Uri, Uri
from tidegate.snapshot.files import FileRef, Snapshot, referenced_files


@dataclass(frozen=True)
class Checked:
    """The files of a snapshot against a listing. ``files`` and ``bytes`` count ``_metadata`` and what is there."""

    files: int
    bytes: int
    wrong: tuple[tuple[FileRef, int | None], ...]
    """Each file that is missing (None) or of another size (that size)."""

    @property
    def problem(self) -> str | None:
        """What is wrong, in a line; None: every file is there at its size."""
        if not self.wrong:
            return None
        ref, found = self.wrong[0]
        wanted = f"instead of {ref.size:,}" if ref.size is not None else f"of at least {ref.least_size:,}"
        first = f"{ref.uri} is missing" if found is None else f"{ref.uri} has {found:,} bytes {wanted}"
        return first if len(self.wrong) == 1 else f"{first} and {len(self.wrong) - 1} more"


def directory_prefix(directory: Uri) -> S3Uri:
    """A directory as a prefix to list: it ends with a slash, so that no neighbour begins with it."""
    at = S3Uri.parse(directory)
    return S3Uri(at.bucket, f"{at.key.rstrip('/')}/" if at.key else "", at.scheme)


class Listing:
    """What a store said when it was asked; each directory is listed once."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._listed: set[S3Uri] = set()
        self.found: dict[S3Uri, ObjectInfo] = {}

    async def below(self, directory: Uri) -> list[ObjectInfo]:
        """Every object below a directory, at any depth. Raises what the store raises."""
        prefix = directory_prefix(directory)
        await self._list(prefix)
        return [
            item for uri, item in self.found.items() if uri.bucket == prefix.bucket and uri.key.startswith(prefix.key)
        ]

    async def _list(self, prefix: S3Uri) -> None:
        if self._covered(prefix):
            return
        async for item in self._store.list(prefix):
            self.found[item.uri] = item
        self._listed.add(prefix)

    async def beginning_with(self, prefix: S3Uri) -> None:
        """Every object whose key begins so, whatever comes after: one call where many directories would be one each.

        Raises what the store raises.
        """
        await self._list(prefix)

    async def check(self, snapshot: Snapshot) -> Checked:
        """Whether every file of a snapshot is there at its size.

        Raises SnapshotUnsupported for a file that is not on S3, and what the store raises.
        """
        refs = referenced_files(snapshot.metadata, snapshot.directory)
        for directory in sorted({ref.uri.parent for ref in refs}):
            await self._list(directory_prefix(directory))
        wrong: list[tuple[FileRef, int | None]] = []
        total = len(snapshot.metadata.data)
        for ref in refs:
            item = self.found.get(ref.uri)
            if not ref.fits(None if item is None else item.size):
                wrong.append((ref, None if item is None else item.size))
        there = {ref.uri for ref in refs} & self.found.keys()
        total += sum(self.found[uri].size for uri in there)
        return Checked(len(there) + 1, total, tuple(wrong))

    def _covered(self, prefix: S3Uri) -> bool:
        return any(prefix.bucket == listed.bucket and prefix.key.startswith(listed.key) for listed in self._listed)
