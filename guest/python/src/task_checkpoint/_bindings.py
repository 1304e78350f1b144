"""What componentize-py generates from the WIT package."""

try:
    from componentize_py_types import Err
    from wit_world.imports import (
        task_checkpoint_checkpointer as checkpointer,
        task_checkpoint_paths as paths,
        task_checkpoint_streams as streams,
        task_checkpoint_types as types,
        wasi_filesystem_preopens as preopens,
        wasi_filesystem_types as filesystem,
        wasi_io_streams as io_streams,
    )
except ImportError as error:
    raise ImportError(
        "task_checkpoint works only in a WebAssembly component; build one with `componentize-py componentize MODULE`"
    ) from error

__all__ = ["Err", "checkpointer", "filesystem", "io_streams", "paths", "preopens", "streams", "types"]
