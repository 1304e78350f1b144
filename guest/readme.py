"""Runs the lines of a README as a reader would, and compares their output.

`readme.py README` runs the `sh` blocks one after another in an empty directory, in one shell that stops at the first
command that fails. A `text` block must equal what the `sh` block before it wrote to stdout.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BLOCK = re.compile(r"^```(sh|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def main() -> None:
    readme = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as work, tempfile.TemporaryDirectory() as outputs:
        script, blocks = "set -euo pipefail\n", 0
        for kind, text in BLOCK.findall(readme.read_text()):
            out, expected = Path(outputs, f"{blocks}.out"), Path(outputs, f"{blocks}.expected")
            if kind == "sh":
                blocks += 1
                # A group, so that a virtual environment stays active.
                script += f"{{\n{text}}} > {outputs}/{blocks}.out\n"
            else:
                expected.write_text(text)
                script += f"diff {expected} {out} >&2\n"
        # A reader's builds land in the directory itself.
        environment = {name: value for name, value in os.environ.items() if name != "CARGO_TARGET_DIR"}
        began = time.monotonic()
        ended = subprocess.run(["bash", "-c", script], cwd=work, env=environment)
        if ended.returncode != 0:
            sys.exit(f"{readme}: its lines fail")
        print(f"{readme.parent.name}: the README's lines work, in {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
