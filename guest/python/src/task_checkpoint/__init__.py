"""Saves the progress of a WebAssembly task, so that its next attempt resumes from there.

    import task_checkpoint

    @task_checkpoint.task
    def main():
        done = int(task_checkpoint.read() or 0)
        while done < 1_000:
            done += 1  # a piece of work
            task_checkpoint.write(str(done).encode())

A save is atomic and replaces the whole checkpoint. `read` and `restore` return this attempt's newest save, or, if it
has not saved yet, the newest checkpoint of the earlier attempts. Every byte is verified.
"""

from ._checkpoint import (
    Advice,
    Checkpoint,
    CheckpointInfo,
    Contents,
    Limits,
    ResumePoint,
    Saved,
    SchemaChange,
    current_context,
)
from ._errors import (
    CheckpointError,
    Corrupt,
    Fenced,
    InvalidPath,
    NotSingle,
    Other,
    QuotaExceeded,
    ReadOnly,
    SchemaMismatch,
    Unavailable,
)
from ._streams import ReadStream, SaveStream
from ._task import task

_checkpoint = Checkpoint()

prev_exists = _checkpoint.prev_exists
resume_point = _checkpoint.resume_point
read = _checkpoint.read
read_contents = _checkpoint.read_contents
write = _checkpoint.write
write_in_background = _checkpoint.write_in_background
save = _checkpoint.save
save_in_background = _checkpoint.save_in_background
restore = _checkpoint.restore
flush = _checkpoint.flush
save_stream = _checkpoint.save_stream
read_stream = _checkpoint.read_stream
advice = _checkpoint.advice
save_due = _checkpoint.save_due
stopping = _checkpoint.stopping
declare_schema = _checkpoint.declare_schema
limits = _checkpoint.limits

__all__ = [
    "Advice",
    "Checkpoint",
    "CheckpointError",
    "CheckpointInfo",
    "Contents",
    "Corrupt",
    "Fenced",
    "InvalidPath",
    "Limits",
    "NotSingle",
    "Other",
    "QuotaExceeded",
    "ReadOnly",
    "ReadStream",
    "ResumePoint",
    "SaveStream",
    "Saved",
    "SchemaChange",
    "SchemaMismatch",
    "Unavailable",
    "advice",
    "current_context",
    "declare_schema",
    "flush",
    "limits",
    "prev_exists",
    "read",
    "read_contents",
    "read_stream",
    "restore",
    "resume_point",
    "save",
    "save_due",
    "save_in_background",
    "save_stream",
    "stopping",
    "task",
    "write",
    "write_in_background",
]
