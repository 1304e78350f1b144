"""Paths, for the host."""

import os
from typing import Optional, Tuple, Union

from ._bindings import filesystem, preopens
from ._errors import InvalidPath


def text(path: Union[str, os.PathLike]) -> str:
    """Returns a path as the host takes it."""
    as_text = os.fspath(path)
    if not isinstance(as_text, str):
        raise InvalidPath(f"{as_text!r}: the path must be a str")
    return as_text


def descriptor(path: str) -> Tuple[filesystem.Descriptor, str]:
    """Returns the descriptor of the directory that contains a path, and the path relative to it.

    Python opens files through its C library, which does not expose their WASI descriptors.
    """
    best = None
    for directory, name in preopens.get_directories():
        rest = _beneath(name, path)
        if rest is not None and (best is None or len(rest) < len(best[1])):
            best = (directory, rest)
    if best is None:
        raise InvalidPath(f"{path}: it is in no directory of this task")
    return best


def _beneath(name: str, path: str) -> Optional[str]:
    """Returns `path` relative to the directory `name`, or None if it is not beneath it."""
    directory, parts = _parts(name), _parts(path)
    if parts[: len(directory)] != directory:
        return None
    return "/".join(parts[len(directory) :])


def _parts(path: str) -> list:
    # The working directory is the root, so absolute and relative paths are the same.
    return [part for part in path.split("/") if part not in ("", ".")]
