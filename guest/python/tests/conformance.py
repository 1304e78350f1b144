"""Performs the calls of the conformance suite: one command a line on stdin, one answer a line on stdout.
`guest/conformance/cases.txt` describes the commands."""

import array
import sys

import task_checkpoint as ckpt

ERRORS = {
    ckpt.Fenced: "fenced",
    ckpt.NotSingle: "not-single",
    ckpt.Corrupt: "corrupt",
    ckpt.Unavailable: "unavailable",
    ckpt.QuotaExceeded: "quota-exceeded",
    ckpt.InvalidPath: "invalid-path",
    ckpt.ReadOnly: "read-only",
    ckpt.SchemaMismatch: "schema-mismatch",
    ckpt.Other: "other",
}
CHANGES = {
    "refuse": ckpt.SchemaChange.REFUSE,
    "start-fresh": ckpt.SchemaChange.START_FRESH,
    "allow": ckpt.SchemaChange.ALLOW,
}


class Guest:
    def __init__(self):
        #: The annotations of the next save.
        self._annotations = {}
        self._saving = None
        self._reading = None

    def answer(self, line: str) -> str:
        command, _, rest = line.partition(" ")
        perform = getattr(self, command.replace("-", "_"), None)
        if perform is None:
            return f"unknown command {command}"
        try:
            return perform(rest)
        except ckpt.CheckpointError as error:
            return f"error {ERRORS[type(error)]}"
        except OSError:
            return "error stream"

    def prev_exists(self, _):
        return boolean(ckpt.prev_exists())

    def resume_point(self, _):
        point = ckpt.resume_point()
        return "fresh" if point is None else "resumed" if point.damaged is None else "fell-back"

    def resume_position(self, _):
        return position(ckpt.resume_point())

    def read(self, _):
        return described(ckpt.read())

    def read_position(self, _):
        contents = ckpt.read_contents()
        return position(contents and contents.checkpoint)

    def read_annotations(self, _):
        contents = ckpt.read_contents()
        if contents is None:
            return "none"
        notes = sorted(contents.checkpoint.annotations.items())
        return " ".join(["annotations", *(f"{key}={value}" for key, value in notes)])

    def read_schema(self, _):
        contents = ckpt.read_contents()
        if contents is None:
            return "none"
        schema = contents.checkpoint.schema
        return "no-schema" if schema is None else f"schema {schema}"

    def annotate(self, rest):
        key, _, value = rest.partition(" ")
        self._annotations[key] = value
        return "ok"

    def write(self, rest):
        ckpt.write(rest.encode(), annotations=self._notes())
        return "saved"

    def write_pattern(self, rest):
        ckpt.write(pattern(rest), annotations=self._notes())
        return "saved"

    def write_in_background(self, rest):
        ckpt.write_in_background(rest.encode(), annotations=self._notes())
        return "ok"

    def write_pattern_in_background(self, rest):
        ckpt.write_in_background(pattern(rest), annotations=self._notes())
        return "ok"

    def save(self, rest):
        ckpt.save(rest, annotations=self._notes())
        return "saved"

    def save_in_background(self, rest):
        ckpt.save_in_background(rest, annotations=self._notes())
        return "ok"

    def flush(self, _):
        ckpt.flush()
        return "ok"

    def restore(self, rest):
        return "none" if ckpt.restore(rest) is None else "restored"

    def replace(self, rest):
        return "none" if ckpt.restore(rest, replace=True) is None else "restored"

    def declare_schema(self, rest):
        name, _, change = rest.partition(" ")
        ckpt.declare_schema(name, CHANGES[change])
        return "ok"

    def begin_save(self, _):
        # An open stream is not replaced if this fails.
        stream = ckpt.save_stream(annotations=self._notes())
        self._saving = stream
        return "open"

    def stream(self, rest):
        self._saving.write(rest.encode())
        return "ok"

    def stream_pattern(self, rest):
        self._saving.write(pattern(rest))
        return "ok"

    def commit(self, _):
        self._saving.commit()
        return "saved"

    def abort(self, _):
        self._saving.close()
        return "ok"

    def begin_read(self, _):
        stream = ckpt.read_stream()
        if stream is None:
            return "none"
        self._reading = stream
        return "open"

    def end_read(self, _):
        with self._reading as stream:
            return described(stream.read())

    def save_due(self, _):
        return boolean(ckpt.save_due())

    def advice(self, _):
        advice = ckpt.advice()
        return f"now={boolean(advice.now)} stopping={boolean(advice.stopping is not None)}"

    def limits(self, _):
        limits = ckpt.limits()
        numbers = (
            limits.checkpoint_bytes,
            limits.entries,
            limits.path_bytes,
            limits.annotation_bytes,
            limits.saves_per_minute,
        )
        return " ".join(["limits", *map(str, numbers)])

    def bytes_left(self, _):
        return str(ckpt.limits().bytes_left)

    def _notes(self):
        """Returns the annotations of the next save, and forgets them."""
        notes, self._annotations = self._annotations, {}
        return notes


def boolean(value: bool) -> str:
    return "true" if value else "false"


def position(checkpoint) -> str:
    return "none" if checkpoint is None else f"position {checkpoint.sequence}"


def pattern(arguments: str) -> bytes:
    """Returns `SIZE` bytes that do not repeat, from the arguments `SEED SIZE`."""
    state, size = map(int, arguments.split(" "))
    # WebAssembly is little-endian.
    words = array.array("I")
    for _ in range(size // 4):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        words.append(state)
    return words.tobytes()


def described(contents) -> str:
    """Returns short contents as text, and others as their size and a checksum."""
    if contents is None:
        return "none"
    if not contents:
        return "empty"
    if len(contents) < 100:
        return f"text {contents.decode()}"
    checksum = 0
    for start in range(0, len(contents), 4096):
        checksum = (checksum * 31 + sum(contents[start : start + 4096])) & 0xFFFFFFFF
    return f"bytes {len(contents)} {checksum}"


@ckpt.task
def main():
    guest = Guest()
    for line in sys.stdin.buffer:
        answer = guest.answer(line.decode().removesuffix("\n"))
        sys.stdout.buffer.write(answer.encode() + b"\n")
        sys.stdout.buffer.flush()
