"""Why a call failed: one exception for each way that a caller can react."""

from ._bindings import Err, types


class CheckpointError(Exception):
    """Any error of this package."""


class Fenced(CheckpointError):
    """A newer attempt of this task has begun, so this attempt can save nothing more. Stop."""


class NotSingle(CheckpointError, ValueError):
    """The checkpoint holds `files` files instead of one. Use `restore`."""

    def __init__(self, files: int):
        super().__init__(f"the checkpoint holds {files} files, not one; use restore")
        self.files = files


class Corrupt(CheckpointError):
    """Every checkpoint that could be returned is damaged. Retrying does not help."""


class Unavailable(CheckpointError):
    """The storage cannot be reached or temporarily refuses requests. Retry later. A save may still take effect."""


class QuotaExceeded(CheckpointError):
    """A limit of the host is reached. Save less, or less often."""


class InvalidPath(CheckpointError, ValueError):
    """The path is in no directory of the task, does not name what the call needs, or cannot be stored."""


class ReadOnly(CheckpointError):
    """This task is not permitted to write to the target or to the storage."""


class SchemaMismatch(CheckpointError):
    """The checkpoint's schema is not the one that this task declared."""


class Other(CheckpointError):
    """Any other error."""


def raised(error: types.Error) -> CheckpointError:
    """Returns the exception for an error of the import."""
    match error:
        case types.Error_Fenced():
            return Fenced("a newer attempt of this task has begun")
        case types.Error_NotSingle(files):
            return NotSingle(files)
        case types.Error_Corrupt(why):
            return Corrupt(why)
        case types.Error_Unavailable(why):
            return Unavailable(why)
        case types.Error_QuotaExceeded(why):
            return QuotaExceeded(why)
        case types.Error_InvalidPath(why):
            return InvalidPath(why)
        case types.Error_ReadOnly(why):
            return ReadOnly(why)
        case types.Error_SchemaMismatch(why):
            return SchemaMismatch(why)
        case types.Error_Other(why):
            return Other(why)
    return Other(str(error))


def call(function, *arguments):
    """Calls a function of the import, and raises its error as an exception of this package."""
    try:
        return function(*arguments)
    except Err as error:
        raise raised(error.value) from None
