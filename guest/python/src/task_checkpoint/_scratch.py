"""Passes bytes to the host through a file.

componentize-py 0.25 does not free the copy that it makes of a `bytes` argument, so each byte that a task saves
would cost it a byte of memory for ever. What Python writes to a file is freed. So if the task has a directory for
temporary files (`$TMPDIR`, or `/tmp`), bytes take that way.
"""

import os
import tempfile
import warnings
from contextlib import contextmanager
from typing import Iterator, Optional

from ._bindings import filesystem
from ._paths import descriptor

# A warning comes long before a task with the usual limits of memory dies, and never to a task that saves little.
_WARN_AT_BYTES = 64 << 20

_lost_bytes = 0


def directory() -> Optional[str]:
    """Returns the directory for temporary files, or None if the task has none that it may write to."""
    path = os.environ.get("TMPDIR") or "/tmp"
    return path if os.path.isdir(path) else None


def lose(count: int) -> None:
    """Counts bytes that are passed directly, and warns once if they are many."""
    global _lost_bytes
    before, _lost_bytes = _lost_bytes, _lost_bytes + count
    if before < _WARN_AT_BYTES <= _lost_bytes:
        warnings.warn(
            "each byte that this task saves costs it a byte of memory, because componentize-py does not free it; "
            "give the task a directory for temporary files, e.g. `--dir scratch::/tmp`",
            ResourceWarning,
            stacklevel=4,
        )


@contextmanager
def named(contents) -> Iterator[Optional[str]]:
    """Yields the path of a temporary file with these contents, or None if there is no place for one."""
    place = directory()
    if place is None:
        yield None
        return
    try:
        handle, path = tempfile.mkstemp(prefix=".task-checkpoint-", dir=place)
    except OSError:
        # A read-only directory.
        yield None
        return
    try:
        with open(handle, "wb", buffering=0) as file:
            write_all(file, contents)
        yield path
    finally:
        os.unlink(path)


class Relay:
    """A file whose contents are spliced into a stream of the host. It has no name, so that a task that is killed
    leaves nothing behind."""

    def __init__(self, place: str):
        handle, path = tempfile.mkstemp(prefix=".task-checkpoint-", dir=place)
        self._file = open(handle, "r+b", buffering=0)
        try:
            parent, name = descriptor(path)
            self._descriptor = parent.open_at(
                filesystem.PathFlags(0), name, filesystem.OpenFlags(0), filesystem.DescriptorFlags.READ
            )
        finally:
            os.unlink(path)

    def send(self, contents, stream) -> None:
        """Writes the contents to a stream."""
        self._file.seek(0)
        write_all(self._file, contents)
        left = len(contents)
        with self._descriptor.read_via_stream(0) as source:
            while left > 0:
                left -= stream.blocking_splice(source, left)

    def close(self) -> None:
        self._file.close()
        self._descriptor.__exit__(None, None, None)


def write_all(file, contents) -> None:
    """Writes to an unbuffered file, which may accept a part."""
    rest = memoryview(contents)
    while len(rest) > 0:
        rest = rest[file.write(rest) :]
