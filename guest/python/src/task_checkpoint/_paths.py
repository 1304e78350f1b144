"""Resolves paths against the directories that the host gave to the task.

Python opens files through its C library, which does not expose their WASI descriptors.
"""

import os
from typing import Optional, Tuple, Union

from ._bindings import filesystem, preopens
from ._errors import InvalidPath


def locate(path: Union[str, os.PathLike]) -> Tuple[filesystem.Descriptor, str]:
    """Returns the directory that contains a path, and the path relative to it."""
    text = os.fspath(path)
    if not isinstance(text, str):
        raise InvalidPath(f"{text!r}: the path must be a str")
    if not text:
        # The host would take it as the whole directory, which no slip should save or replace.
        raise InvalidPath("the path is empty")
    best = None
    for directory, name in preopens.get_directories():
        rest = beneath(name, text)
        if rest is not None and (best is None or len(rest) < len(best[1])):
            best = (directory, rest)
    if best is None:
        raise InvalidPath(f"{text}: it is in no directory of this task; give it one, e.g. `wasm-checkpoint run --dir .`")
    return best


def beneath(name: str, path: str) -> Optional[str]:
    """Returns `path` relative to the directory `name`, or None if it is not beneath it."""
    directory, parts = _parts(name), _parts(path)
    if parts[: len(directory)] != directory:
        return None
    return "/".join(parts[len(directory) :])


def _parts(path: str) -> list:
    # The working directory is the root, so absolute and relative paths are the same.
    return [part for part in path.split("/") if part not in ("", ".")]
