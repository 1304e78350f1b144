"""Checks what the package adds to the import; `guest/conformance` checks the rest. Run it twice at one location: the
second time as `again`, with the same directories `/tmp` and `/data`."""

import io
import os
import pickle
import shutil
import sys
from datetime import timedelta
from pathlib import Path

import task_checkpoint as ckpt


def raises(error, function, *arguments, **options):
    try:
        function(*arguments, **options)
    except error as caught:
        return caught
    raise AssertionError(f"{function} does not raise {error}")


def bytes_like_objects_are_saved():
    assert ckpt.write(bytearray(b"one"), annotations={"step": 1}).logical_bytes == 3
    contents = ckpt.read_contents()
    assert contents.bytes == b"one" and contents.checkpoint.annotations["step"] == "1"


def streams_are_files():
    with ckpt.save_stream() as stream:
        pickle.dump({"a": [1, 2, 3]}, stream)
        stream.write(bytes(3 << 20))
    with ckpt.read_stream() as contents:
        assert contents.size > 3 << 20
        assert pickle.load(contents) == {"a": [1, 2, 3]}
        assert contents.read() == bytes(3 << 20)

    def fails():
        with ckpt.save_stream() as stream:
            stream.write(b"lost")
            raise KeyError("the task's own error")

    raises(KeyError, fails)
    assert len(ckpt.read()) > 3 << 20, "a block that raises saves nothing"
    assert ckpt.save(io.BytesIO(b"x" * 100_000)).logical_bytes == 100_000
    assert ckpt.read() == b"x" * 100_000


def paths_are_restored():
    tree = Path("/data/tree")
    tree.mkdir()
    (tree / "a").write_text("a")
    (tree / "b").write_text("b")
    ckpt.save(tree)
    error = raises(ckpt.NotSingle, ckpt.read)
    assert error.files == 2 and isinstance(error, ValueError)
    assert ckpt.restore(tree) == tree
    assert ckpt.restore(str(tree), replace=True) == tree
    temporary = ckpt.restore()
    assert (temporary / "b").read_text() == "b"
    shutil.rmtree(temporary.parent)
    raises(ValueError, ckpt.save, 7)
    shutil.rmtree(tree)


def background_saves_return_their_result():
    ckpt.write_in_background(b"in the background")
    assert ckpt.flush().logical_bytes == 17
    assert ckpt.flush() is None
    assert ckpt.advice().stopping is None and ckpt.stopping() is None


def flytekits_calls_work():
    checkpoint = ckpt.current_context().checkpoint
    assert isinstance(checkpoint, ckpt.Checkpoint)
    checkpoint.write(b=b"bytes")
    assert checkpoint.read() == b"bytes"
    Path("/data/model.bin").write_bytes(b"model")
    checkpoint.save(cp="/data/model.bin")
    os.unlink("/data/model.bin")


def the_next_attempt_resumes():
    """Called in the second run, before anything is saved."""
    point = ckpt.resume_point()
    assert point.damaged is None
    assert timedelta() <= point.age < timedelta(hours=1)
    assert point.annotations["file-name"] == "model.bin"
    assert ckpt.read_contents().checkpoint.sequence == point.sequence
    # As flytekit does, a file is restored into a directory by its name.
    os.mkdir("/data/restored")
    assert ckpt.restore("/data/restored") == Path("/data/restored")
    assert Path("/data/restored/model.bin").read_bytes() == b"model"
    shutil.rmtree("/data/restored")
    print("python: the second attempt resumes")


@ckpt.task
def main():
    if "again" in sys.argv:
        return the_next_attempt_resumes()
    assert ckpt.resume_point() is None
    bytes_like_objects_are_saved()
    streams_are_files()
    paths_are_restored()
    background_saves_return_their_result()
    flytekits_calls_work()
    print("python: the package's own checks pass")
