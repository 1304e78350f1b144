"""Saves a directory with flytekit's SyncCheckpoint, restores it to another one, prints the two times.

Usage: flytekit_files.py PREFIX SOURCE TARGET
"""

import sys
import time

from flytekit.core.checkpointer import SyncCheckpoint
from flytekit.core.context_manager import FlyteContextManager


def timed(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


prefix, source, target = sys.argv[1:]
# Creates the client here, so that its setup time is not measured.
FlyteContextManager.current_context().file_access.get_filesystem_for_path(prefix)
save = timed(lambda: SyncCheckpoint(checkpoint_dest=prefix).save(source))
earlier = SyncCheckpoint(checkpoint_dest=prefix, checkpoint_src=prefix)
restore = timed(lambda: earlier.restore(target))
print(save, restore)
