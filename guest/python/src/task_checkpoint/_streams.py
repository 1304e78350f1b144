"""Contents that are larger than the task's memory."""

import io

from . import _names, _scratch
from ._bindings import Err, io_streams, streams
from ._errors import call

# Large enough that few calls are made, small beside the memory of a task.
_PIECE_BYTES = 1 << 20
# The most that `blocking_write_and_flush` accepts.
_DIRECT_BYTES = 4096


class StreamFailed(OSError):
    """The host accepts no more, or has nothing more to read."""


class SaveStream(io.RawIOBase):
    """A binary file whose contents become the checkpoint when it is committed.

    As a context manager it commits at the end of the block, unless the block raises. Closing it before it is
    committed saves nothing. Only one may be open at a time.
    """

    def __init__(self, annotations):
        super().__init__()
        self._buffer = bytearray()
        self._size = 0
        self._save = call(streams.SaveStream.begin, annotations)
        self._contents = call(self._save.contents)
        place = _scratch.directory()
        try:
            self._relay = _scratch.Relay(place) if place else None
        except OSError:
            # A read-only directory.
            self._relay = None

    def writable(self) -> bool:
        return True

    def write(self, contents) -> int:
        """Writes all of the contents."""
        self._check()
        view = memoryview(contents).cast("B")
        for start in range(0, len(view), _PIECE_BYTES):
            self._buffer += view[start : start + _PIECE_BYTES]
            if len(self._buffer) >= _PIECE_BYTES:
                self._send()
        return len(view)

    def commit(self):
        """Replaces the checkpoint with what was written. It is durable when this returns."""
        self._check()
        try:
            self._send()
            self._contents.blocking_flush()
        except (StreamFailed, Err):
            pass  # The commit fails with the reason.
        self._drop_contents()
        save, self._save = self._save, None
        try:
            saved = call(streams.SaveStream.commit, save, self._size)
            _names.note_save({})
            return saved
        finally:
            self.close()

    def close(self) -> None:
        if not self.closed:
            self._buffer = bytearray()
            self._drop_contents()
            save, self._save = getattr(self, "_save", None), None
            if save is not None:
                save.__exit__(None, None, None)
        super().close()

    def __exit__(self, kind, value, traceback):
        if kind is None and not self.closed:
            self.commit()
        self.close()

    def _check(self) -> None:
        if self._save is None:
            raise ValueError("the save is committed or closed")

    def _send(self) -> None:
        piece = bytes(self._buffer)
        if self._relay is not None:
            _failing(self._relay.send, piece, self._contents)
        else:
            _scratch.lose(len(piece))
            for start in range(0, len(piece), _DIRECT_BYTES):
                _failing(self._contents.blocking_write_and_flush, piece[start : start + _DIRECT_BYTES])
        self._size += len(piece)
        self._buffer = bytearray()

    def _drop_contents(self) -> None:
        contents, self._contents = getattr(self, "_contents", None), None
        if contents is not None:
            contents.__exit__(None, None, None)
        relay, self._relay = getattr(self, "_relay", None), None
        if relay is not None:
            relay.close()


class _Contents(io.RawIOBase):
    def __init__(self, contents):
        super().__init__()
        self._contents = contents

    def readable(self) -> bool:
        return True

    def readinto(self, into) -> int:
        try:
            piece = self._contents.blocking_read(len(into))
        except Err as error:
            if isinstance(error.value, io_streams.StreamError_Closed):
                return 0
            raise StreamFailed(_text(error)) from None
        into[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        if not self.closed:
            self._contents.__exit__(None, None, None)
        super().close()


class ReadStream(io.BufferedReader):
    """The contents of a checkpoint as a binary file. The checkpoint is not deleted while the file is open.

    Reading raises OSError if damage is found; another `read_stream` then returns an older checkpoint.
    """

    def __init__(self, reading, checkpoint):
        super().__init__(_Contents(reading.contents), 256 << 10)
        #: The size of the contents in bytes.
        self.size: int = reading.size
        #: The checkpoint that is being read, a `CheckpointInfo`.
        self.checkpoint = checkpoint


def _failing(function, *arguments):
    """Calls a function of a stream, and raises its error as an OSError."""
    try:
        return function(*arguments)
    except Err as error:
        raise StreamFailed(_text(error)) from None


def _text(error: Err) -> str:
    if isinstance(error.value, io_streams.StreamError_LastOperationFailed):
        return error.value.value.to_debug_string()
    return "the save has failed; commit it to get the reason"
