"""The entry point of a component."""

import sys
import traceback
from typing import Callable

from ._bindings import Err


def task(function: Callable[[], object]) -> Callable[[], object]:
    """Makes a function the task of the component that is built from its module.

    The component fails, with exit code 1, if the function raises an exception. Everything outside the function runs
    when the component is built, not when it runs.
    """

    class Run:
        def run(self) -> None:
            if not _succeeds(function):
                raise Err(None)

    # componentize-py looks for the class by the name of the interface, `wasi:cli/run`.
    setattr(sys.modules[function.__module__], "Run", Run)
    return function


def _succeeds(function: Callable[[], object]) -> bool:
    try:
        function()
        return True
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        return stop.code in (None, 0)
    except BaseException:
        traceback.print_exc()
        return False
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
