"""The names of saved files. As with flytekit, a file is restored into a directory by the name that it was saved with."""

import os
from typing import Dict, Mapping, Optional

from ._bindings import checkpointer
from ._errors import call

# The annotation that holds the name.
_FILE_NAME = "file-name"

_own: Optional[str] = None
_has_saved = False


def annotations(path) -> Dict[str, str]:
    """Returns the annotation for what is saved from a path."""
    return {} if os.path.isdir(path) else {_FILE_NAME: os.path.basename(os.fspath(path))}


def note_save(saved: Mapping[str, str]) -> None:
    """Records that this attempt has saved something with these annotations."""
    global _own, _has_saved
    _own, _has_saved = of(saved), True


def of(saved: Mapping[str, str]) -> Optional[str]:
    """Returns the name that the annotations hold, or None if a directory or bytes were saved."""
    name = saved.get(_FILE_NAME)
    return name if name is not None and name == os.path.basename(name) else None


def newest() -> Optional[str]:
    """Returns the name in the checkpoint that is restored next, unless damage to it is found then."""
    if _has_saved:
        return _own
    match call(checkpointer.get_resume_point):
        case checkpointer.ResumePoint_Resumed(found):
            return of(dict(found.annotations))
        case checkpointer.ResumePoint_FellBack(past):
            return of(dict(past.checkpoint.annotations))
    return None
