"""Makes every call of the package, and checks the answers. Run it twice at one location: the second time as `again`,
with the same directories `/tmp` and `/data`."""

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


def bytes_are_kept():
    saved = ckpt.write(b"one", annotations={"step": 1})
    assert saved.logical_bytes == 3, saved
    assert ckpt.read() == b"one"
    ckpt.write(bytearray(b"\0" * 100))
    assert ckpt.read() == b"\0" * 100
    ckpt.write(b"")
    assert ckpt.prev_exists()
    assert ckpt.read() == b""


def streams_are_files():
    with ckpt.save_stream() as stream:
        pickle.dump({"a": [1, 2, 3]}, stream)
        stream.write(bytes(3 << 20))
    with ckpt.read_stream() as contents:
        assert contents.checkpoint.schema == "calls/1"
        assert contents.size > 3 << 20
        assert pickle.load(contents) == {"a": [1, 2, 3]}
        assert contents.read() == bytes(3 << 20)

    def fails():
        with ckpt.save_stream() as stream:
            stream.write(b"lost")
            raise KeyError("the task's own error")

    raises(KeyError, fails)
    assert len(ckpt.read()) > 3 << 20, "a stream that is not committed saves nothing"
    with ckpt.save_stream():
        error = raises(ckpt.QuotaExceeded, ckpt.save_stream)
        assert "stream" in str(error), error
        ckpt.write(b"another save meanwhile")
    assert ckpt.read() == b""
    saved = ckpt.save(io.BytesIO(b"x" * 100_000))
    assert saved.logical_bytes == 100_000
    assert ckpt.read() == b"x" * 100_000


def paths_are_restored():
    tree = Path("/data/tree")
    (tree / "deep").mkdir(parents=True)
    (tree / "a").write_text("a")
    (tree / "deep" / "b").write_text("b")
    ckpt.save(tree)
    error = raises(ckpt.NotSingle, ckpt.read)
    assert error.files == 2 and isinstance(error, ValueError)
    assert ckpt.restore(tree) == tree
    (tree / "a").write_text("changed")
    raises(ckpt.InvalidPath, ckpt.restore, tree)
    assert ckpt.restore(str(tree), replace=True) == tree
    assert (tree / "a").read_text() == "a"
    temporary = ckpt.restore()
    assert (temporary / "deep" / "b").read_text() == "b"
    shutil.rmtree(temporary.parent)
    raises(ckpt.InvalidPath, ckpt.save, "/data/missing")
    raises(ckpt.InvalidPath, ckpt.save, "/elsewhere/file")
    raises(ckpt.InvalidPath, ckpt.save, "/data/../tmp")
    raises(ckpt.InvalidPath, ckpt.save, "")
    raises(ValueError, ckpt.save, 7)
    ckpt.save(tree / "a")
    assert ckpt.read() == b"a"
    shutil.rmtree(tree)
    assert ckpt.restore("/data/b") == Path("/data/b")
    assert Path("/data/b").read_text() == "a"
    os.unlink("/data/b")


def background_saves_become_durable():
    ckpt.write_in_background(b"in the background")
    assert ckpt.flush().logical_bytes == 17
    assert ckpt.flush() is None
    Path("/data/file").write_bytes(b"file")
    ckpt.save_in_background("/data/file")
    os.unlink("/data/file")
    ckpt.flush()
    assert ckpt.read() == b"file"


def the_host_advises():
    assert isinstance(ckpt.save_due(), bool)
    assert ckpt.stopping() is None
    assert ckpt.advice().stopping is None
    assert ckpt.limits().bytes_left > 0


def an_attempt_without_a_predecessor_is_fresh():
    assert ckpt.resume_point() is None
    assert not ckpt.prev_exists()
    assert ckpt.read() is None
    assert ckpt.read_stream() is None
    assert ckpt.restore("/data/nothing") is None
    ckpt.declare_schema("calls/1")


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
    raises(ckpt.SchemaMismatch, lambda: (ckpt.declare_schema("calls/2"), ckpt.read()))
    ckpt.declare_schema("calls/1")
    point = ckpt.resume_point()
    assert point.schema == "calls/1"
    assert point.damaged is None
    assert timedelta() <= point.age < timedelta(hours=1)
    assert point.annotations["file-name"] == "model.bin"
    contents = ckpt.read_contents()
    assert contents.bytes == b"model"
    assert contents.checkpoint.sequence == point.sequence
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
    an_attempt_without_a_predecessor_is_fresh()
    bytes_are_kept()
    streams_are_files()
    paths_are_restored()
    background_saves_become_durable()
    the_host_advises()
    flytekits_calls_work()
    print("python: every call works")
