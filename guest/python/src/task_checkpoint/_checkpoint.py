"""The checkpoint of a task, in the words of flytekit's checkpointer."""

import io
import os
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Dict, Mapping, Optional, Union

from . import _names, _scratch
from ._bindings import checkpointer, paths, streams, types
from ._errors import InvalidPath, call
from ._paths import text
from ._streams import ReadStream, SaveStream

SchemaChange = checkpointer.SchemaChange
Limits = checkpointer.Limits
Saved = types.Saved


@dataclass(frozen=True)
class CheckpointInfo:
    """A committed checkpoint."""

    #: Its position in the log.
    sequence: int
    #: The number of the attempt that saved it. The first attempt is 0.
    attempt: int
    #: The time since it was saved.
    age: timedelta
    #: The annotations that the task saved with it.
    annotations: Dict[str, str]
    #: Its schema, if the task declared one.
    schema: Optional[str]


@dataclass(frozen=True)
class ResumePoint(CheckpointInfo):
    """What this attempt resumes from."""

    #: The newest damaged checkpoint that was skipped, if this attempt fell back to an older one.
    damaged: Optional[int] = None
    #: A description of the damage.
    reason: Optional[str] = None


@dataclass(frozen=True)
class Contents:
    """The contents of a checkpoint, and which checkpoint they are."""

    bytes: bytes
    checkpoint: CheckpointInfo


@dataclass(frozen=True)
class Advice:
    """The host's advice."""

    #: Whether this is a good time to save.
    now: bool
    #: The time until the host ends the task, if it has asked the task to stop. Save, then return.
    stopping: Optional[timedelta]


class Checkpoint:
    """The checkpoint of this task.

    All instances are the same checkpoint. The signatures of `prev_exists`, `restore`, `save`, `read` and `write` are
    those of `flytekit.core.checkpointer.Checkpoint`.
    """

    def prev_exists(self) -> bool:
        """Returns whether there is a checkpoint that `read` or `restore` would return."""
        return call(checkpointer.prev_exists)

    def resume_point(self) -> Optional[ResumePoint]:
        """Returns what this attempt resumes from, or None if no earlier attempt has saved anything."""
        match call(checkpointer.get_resume_point):
            case checkpointer.ResumePoint_Resumed(found):
                return ResumePoint(**_info(found))
            case checkpointer.ResumePoint_FellBack(past):
                return ResumePoint(**_info(past.checkpoint), damaged=past.damaged, reason=past.reason)
        return None

    def read(self) -> Optional[bytes]:
        """Returns the contents of the checkpoint's only file, or None if there is no checkpoint.

        Raises `NotSingle`, which is a ValueError, if it is a directory of several files or of none.
        """
        contents = self.read_contents()
        return None if contents is None else contents.bytes

    def read_contents(self) -> Optional[Contents]:
        """Like `read`, and says which checkpoint the contents are."""
        found = call(checkpointer.read)
        return None if found is None else Contents(found.bytes, CheckpointInfo(**_info(found.checkpoint)))

    def write(self, b, *, annotations: Optional[Mapping[str, str]] = None) -> Saved:
        """Replaces the checkpoint with these bytes. It is durable when this returns."""
        with _scratch.named(b) as path:
            if path is not None:
                return _save(paths.save, path, annotations)
        contents = bytes(b)
        _scratch.lose(len(contents))
        return _save(checkpointer.write, contents, annotations)

    def write_in_background(self, b, *, annotations: Optional[Mapping[str, str]] = None) -> None:
        """Like `write`, but returns once the host has its own copy. `flush` waits until it is durable."""
        with _scratch.named(b) as path:
            if path is not None:
                return _save(paths.save_in_background, path, annotations)
        contents = bytes(b)
        _scratch.lose(len(contents))
        return _save(checkpointer.write_in_background, contents, annotations)

    def save(
        self,
        cp: Union[Path, str, io.BufferedReader],
        *,
        annotations: Optional[Mapping[str, str]] = None,
    ) -> Saved:
        """Replaces the checkpoint with a file, a directory, or what a reader returns until its end."""
        if isinstance(cp, (str, os.PathLike)):
            return _save(paths.save, text(cp), {**_names.annotations(cp), **(annotations or {})})
        if not hasattr(cp, "read"):
            raise ValueError(f"only a path or a binary reader can be saved, not {type(cp)}")
        with self.save_stream(annotations=annotations) as stream:
            while piece := cp.read(1 << 20):
                stream.write(piece)
            return stream.commit()

    def save_in_background(self, cp: Union[Path, str], *, annotations: Optional[Mapping[str, str]] = None) -> None:
        """Like `save`, but returns once the host has its own copy. `flush` waits until it is durable."""
        return _save(paths.save_in_background, text(cp), {**_names.annotations(cp), **(annotations or {})})

    def restore(self, path: Optional[Union[Path, str]] = None, *, replace: bool = False) -> Optional[Path]:
        """Makes `path` equal to the checkpoint, and returns it; None if there is no checkpoint.

        A saved file is restored as a file; if `path` is a directory, then into it, by the name that it was saved
        with. Without a path, a directory for temporary files is used. Raises `InvalidPath`, which is a ValueError, if
        the target has other content than the checkpoint, unless `replace` is true: then that content is removed.
        """
        if path is None:
            path = os.path.join(tempfile.mkdtemp(dir=_scratch.directory()), "checkpoint")
        target = os.fspath(path)
        directory, guess = None, None
        if os.path.isdir(target):
            directory, guess = target, _names.newest()
            target = os.path.join(directory, guess) if guess else directory
        existing = types.Existing.REPLACE if replace else types.Existing.REFUSE
        found = call(paths.restore, text(target), existing)
        if found is None:
            return None
        name = _names.of(dict(found.annotations))
        if guess and name and name != guess:
            # The newest checkpoint is damaged, so an older one was restored, which has another name.
            os.replace(target, os.path.join(directory, name))
        return Path(path)

    def flush(self) -> Optional[Saved]:
        """Waits until no background save is in flight, and returns the newest one since the last `flush`."""
        return call(checkpointer.flush)

    def save_stream(self, *, annotations: Optional[Mapping[str, str]] = None) -> SaveStream:
        """Begins a save whose contents are written to a file object."""
        return SaveStream(_pairs(annotations))

    def read_stream(self) -> Optional[ReadStream]:
        """Returns what `read` would return as a file object, for contents that are larger than memory."""
        reading = call(streams.read)
        return None if reading is None else ReadStream(reading, CheckpointInfo(**_info(reading.checkpoint)))

    def advice(self) -> Advice:
        """Returns whether to save now, and how long the task has if it is being stopped. Cheap: call it at every
        step."""
        advice = checkpointer.should_save()
        return Advice(advice.now, None if advice.stopping is None else timedelta(milliseconds=advice.stopping))

    def save_due(self) -> bool:
        """Returns whether this is a good time to save.

        For a task that always runs to its end; one that can stop early calls `advice`."""
        return checkpointer.save_due()

    def stopping(self) -> Optional[timedelta]:
        """Returns the time until the host ends the task, if it has asked the task to stop."""
        return self.advice().stopping

    def declare_schema(self, name: str, change: SchemaChange = SchemaChange.REFUSE) -> None:
        """Declares the schema of what this task saves, and what to do with a checkpoint of another schema. Call it
        before reading anything."""
        return call(checkpointer.declare_schema, name, change)

    def limits(self) -> Limits:
        """Returns the host's limits."""
        return call(checkpointer.get_limits)


class _Context:
    """The part of flytekit's execution parameters that this package has."""

    checkpoint = Checkpoint()


def current_context() -> _Context:
    """Returns what has the checkpoint as its attribute `checkpoint`, as `flytekit.current_context` does."""
    return _Context()


def _pairs(annotations: Optional[Mapping[str, str]]) -> list:
    return [(str(key), str(value)) for key, value in (annotations or {}).items()]


def _save(function, what, annotations: Optional[Mapping[str, str]]):
    """Calls a function of the import that saves."""
    pairs = _pairs(annotations)
    saved = call(function, what, pairs)
    _names.note_save(dict(pairs))
    return saved


def _info(found: types.Checkpoint) -> dict:
    """Converts the fields of a checkpoint."""
    return {
        "sequence": found.sequence,
        "attempt": found.attempt,
        "age": timedelta(milliseconds=found.age),
        "annotations": dict(found.annotations),
        "schema": found.schema,
    }
