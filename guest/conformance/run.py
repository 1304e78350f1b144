#!/usr/bin/env python3
"""Runs the conformance suite: each case of `cases.txt`, with a guest in each language, on each host.

`run.py [--write] [--case REGEX] [LANGUAGE]…` is called by `guest/run conformance`, which provides the programs. All
languages are tested by default. `--case` runs only the cases whose name matches. `--write` writes the results
into the table in `guest/README.md`; otherwise they must be those of the table.

The runner acts between the calls of a guest. A line of a case that is indented by two spaces is one of these. Paths
are relative to the directory that the task sees as `/data`. A JSON string stands for a path with unusual characters.

    needs FEATURE                   skips the case for a language that lacks it
    only native                     skips the case on the composed host
    option NAME [VALUE]             applies from the start of the next attempt; `no-fresh` undoes `fresh`
    next attempt                    lets the attempt end, which must succeed; the next call starts another
    next attempt on the other host
    move                            does the same, and the next attempt continues in another location
    kill                            kills the attempt with SIGKILL
    kill during CALL                kills the attempt while it performs a call
    stop                            sends SIGTERM
    ends with CODE                  lets the attempt end, with this exit code
    claim "TEXT"                    another program claims the location, and saves a text there
    damage newest|every record|data changes a byte of commits or of data objects
    delete newest|every record|data
    put PATH "TEXT"                 creates a file
    put PATH pattern SEED SIZE …    creates a file with the contents of `write-pattern`
    tree PATH, files PATH COUNT     creates a directory with files and empty directories, or with many files
    directory PATH, link PATH TARGET, mode PATH OCTAL, remove PATH
    expect PATH "TEXT"              checks a file
    expect PATH pattern SEED SIZE …
    same PATH PATH                  checks that two files or directories are equal
    missing PATH, nothing NAME      checks that there is nothing in the directory, or beside it
    annotations KEY=VALUE …         checks the annotations of the newest checkpoint; `annotation` checks one of them
    schema NAME, checkpoints N      checks its schema, or how many checkpoints are kept

`CALL => ANSWER` instead of `->` repeats the call until it gives this answer.
"""

import argparse
import array
import functools
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
GUEST = HERE.parent

# How long an answer or the end of an attempt may take. Nothing here takes a second on an idle machine.
TIMEOUT_SECONDS = 120
# How long the first start may take, which compiles the guest.
COMPILE_SECONDS = 900

HOSTS = ["native", "composed"]


@dataclass
class Language:
    """How a guest is built, and what its language cannot do."""

    title: str
    #: The command that builds the guest. `{out}` is the path of the component.
    build: list
    #: The features that the language lacks, and why, in the words of the table.
    lacks: dict = field(default_factory=dict)
    #: The hosts that can run it.
    hosts: list = field(default_factory=lambda: HOSTS)
    #: Options of `wasm-checkpoint run` and of `wasmtime run`.
    options: list = field(default_factory=list)


LANGUAGES = {
    "rust": Language("Rust", ["{here}/build-rust", "conformance", "{out}"]),
    "rust-p3": Language(
        "Rust, WASI 0.3",
        ["{here}/build-rust", "conformance-p3", "{out}"],
        {"copies": "saves do not copy files"},
        options=["-S", "p3"],
    ),
    "python": Language("Python", ["{guest}/python/componentize", "{guest}/python/tests/conformance.py", "{out}"]),
    "c": Language("C", ["{guest}/c/componentize", "{guest}/c/tests/conformance.c", "{out}"]),
    "javascript": Language(
        "JavaScript", ["{guest}/javascript/componentize", "{guest}/javascript/tests/conformance.js", "{out}"]
    ),
    "quickjs": Language(
        "QuickJS",
        [
            "{guest}/javascript/componentize",
            "{guest}/javascript/tests/conformance-plain.js",
            "{out}",
            "--backend",
            "quickjs",
        ],
        {"streams": "no streams"},
    ),
}


class Failed(Exception):
    """A case fails."""


# Contents.


@functools.lru_cache(maxsize=8)
def pattern(seed: int, size: int) -> bytes:
    """Returns what a guest saves for `write-pattern`."""
    state, words = seed, array.array("I")
    for _ in range(size // 4):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        words.append(state)
    if sys.byteorder == "big":
        words.byteswap()
    return words.tobytes()


def patterns(arguments: list) -> bytes:
    numbers = [int(number) for number in arguments]
    return b"".join(pattern(*numbers[at : at + 2]) for at in range(0, len(numbers), 2))


def described(contents: bytes) -> str:
    """Returns the answer of a guest that has read these contents."""
    checksum = 0
    for start in range(0, len(contents), 4096):
        checksum = (checksum * 31 + sum(contents[start : start + 4096])) & 0xFFFFFFFF
    return f"bytes {len(contents)} {checksum}"


@functools.lru_cache(maxsize=None)
def expanded(expected: str) -> str:
    """Returns an expected answer with `pattern` replaced by what the guest prints."""
    kind, *arguments = expected.split(" ")
    return described(patterns(arguments)) if kind == "pattern" else expected


def matches(answer: str, expected: str, variables: dict) -> bool:
    """Compares an answer with what is expected. The first use of a variable sets it."""
    return any(matches_one(answer, expanded(one), variables) for one in expected.split(" or "))


def matches_one(answer: str, expected: str, variables: dict) -> bool:
    parts = re.split(r"([<>] )?\$(\w+)|(\*)", expected)
    shape, names = re.escape(parts[0]), []
    for relation, name, _, text in zip(parts[1::4], parts[2::4], parts[3::4], parts[4::4]):
        shape += (r"(\d+)" if name else ".*") + re.escape(text)
        if name:
            names.append((relation, name))
    match = re.fullmatch(shape, answer)
    if not match:
        return False
    for (relation, name), number in zip(names, map(int, match.groups())):
        value = variables.setdefault(name, number)
        if not {None: number == value, "> ": number > value, "< ": number < value}[relation]:
            return False
    return True


# Cases.


@dataclass
class Case:
    name: str
    #: The features that the language needs.
    needs: list = field(default_factory=list)
    only_native: bool = False
    #: Whether an attempt runs on the other host.
    both_hosts: bool = False
    #: The line number, whether it is a call, and the text.
    steps: list = field(default_factory=list)

    def skipped(self, language: Language, host: str):
        """Returns why this case is skipped, or None if it is not."""
        if self.only_native and host != "native":
            return "native only"
        if self.both_hosts and len(language.hosts) == 1:
            return "native only"
        return next((language.lacks[need] for need in self.needs if need in language.lacks), None)


def load_cases() -> list:
    cases = []
    for number, line in enumerate((HERE / "cases.txt").read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        text = line.strip(" ")
        if line.startswith("case "):
            cases.append(Case(text.removeprefix("case ")))
        elif line.startswith("    "):
            cases[-1].steps.append((number, True, text))
        elif text.startswith("needs "):
            cases[-1].needs.append(text.removeprefix("needs "))
        elif text == "only native":
            cases[-1].only_native = True
        else:
            cases[-1].both_hosts |= text.endswith("on the other host")
            cases[-1].steps.append((number, False, text))
    names = [case.name for case in cases]
    assert len(set(names)) == len(names), "two cases have the same name"
    return cases


# Attempts.


class Attempt:
    """A process of a host that runs a guest."""

    def __init__(self, command: list, log: Path):
        self._log = log.open("ab")
        self._rest = b""
        self._process = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log
        )

    def send(self, line: str) -> None:
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Failed(f"the guest ended before it was told: {line}") from None

    def ask(self, line: str) -> str:
        self.send(line)
        deadline = time.monotonic() + TIMEOUT_SECONDS
        output = self._process.stdout
        while b"\n" not in self._rest:
            ready, _, _ = select.select([output], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise Failed(f"no answer within {TIMEOUT_SECONDS} s to: {line}")
            piece = os.read(output.fileno(), 1 << 16)
            if not piece:
                raise Failed(f"the guest ended instead of answering: {line}")
            self._rest += piece
        answer, _, self._rest = self._rest.partition(b"\n")
        return answer.decode(errors="replace")

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def end(self, timeout: float = TIMEOUT_SECONDS) -> int:
        """Closes stdin, and returns the exit code."""
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Failed(f"the guest did not end within {timeout} s after its stdin") from None
        finally:
            self.kill()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for file in (self._process.stdin, self._process.stdout, self._log):
            try:
                file.close()
            except BrokenPipeError:
                pass


@dataclass
class Guest:
    """A component, and the same with the import composed into it."""

    plain: Path
    composed: Path
    #: Options of `wasm-checkpoint run` and of `wasmtime run`.
    options: list


class Run:
    """A case that is run with a language on a host."""

    def __init__(self, guest: Guest, host: str, directory: Path):
        self._guest = guest
        self._host = host
        self._directory = directory
        self._data = directory / "data"
        self._scratch = directory / "scratch"
        self._locations = directory / "locations"
        self.log = directory / "stderr"
        for path in (self._data, self._scratch, self._locations / "1"):
            path.mkdir(parents=True)
        self._moves = 0
        self._options = {}
        self._attempt = None
        #: The host of the current attempt.
        self._on = host
        self._variables = {}

    def perform(self, is_call: bool, text: str) -> None:
        if is_call:
            self._call(text)
        else:
            name, _, rest = text.partition(" ")
            action = getattr(self, f"do_{name}", None)
            assert action, f"unknown: {text}"
            action(*arguments(rest))

    def close(self) -> None:
        """Lets the last attempt end."""
        if self._attempt:
            self._end(0)

    def abandon(self) -> None:
        if self._attempt:
            self._attempt.kill()

    def _location(self) -> Path:
        return self._locations / str(self._moves + 1)

    def command(self) -> list:
        """Returns the command of an attempt."""
        location = self._location()
        if self._on == "native":
            command = ["wasm-checkpoint", "run", *self._guest.options, "--store", location]
            if self._moves:
                command += ["--prev", self._locations / str(self._moves)]
            for name, value in self._options.items():
                if name == "save-every":
                    command += [f"--{name}", f"{value}s"]
                elif name != "read-only":
                    command += [f"--{name}"] + ([value] if value else [])
            data = "--dir-ro" if "read-only" in self._options else "--dir"
            return command + [data, f"{self._data}::/data", "--dir", f"{self._scratch}::/tmp", self._guest.plain]
        # Otherwise wasmtime seals the file that holds a guest's initial memory. Linux refuses that while it moves one of
        # its pages, which happens with the many megabytes of Python, and wasmtime does not try again.
        command = ["wasmtime", "run", "-O", "memory-init-cow=n", *self._guest.options]
        if self._moves:
            previous = f"CHECKPOINT_PREV=/checkpoint/{self._moves}"
            command += ["--env", f"CHECKPOINT_STORE=/checkpoint/{self._moves + 1}", "--env", previous]
            command += ["--dir", f"{self._locations}::/checkpoint"]
        else:
            command += ["--dir", f"{location}::/checkpoint"]
        for name, value in self._options.items():
            command += ["--env", f"CHECKPOINT_{name.upper().replace('-', '_')}={value or 'true'}"]
        return command + ["--dir", f"{self._data}::/data", "--dir", f"{self._scratch}::/tmp", self._guest.composed]

    def _started(self) -> Attempt:
        if not self._attempt:
            self._attempt = Attempt(self.command(), self.log)
        return self._attempt

    def _call(self, text: str) -> None:
        call, arrow, expected = re.fullmatch(r"(.*?) (->|=>) (.*)", text).groups()
        # The last argument of some calls is an empty text, which follows a space.
        line = f"{call} " if call in ("write", "save", "save-in-background", "restore") else call
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while True:
            answer = self._started().ask(line)
            if matches(answer, expected, self._variables):
                return
            if arrow == "->" or time.monotonic() > deadline:
                shown = expanded(expected)
                raise Failed(f"{call}\n    expected: {shown}\n    answered: {answer}")
            time.sleep(0.01)

    def _end(self, expected: int) -> None:
        if not self._attempt:
            raise Failed("there is no attempt to end")
        attempt, self._attempt = self._attempt, None
        code = attempt.end()
        if code != expected:
            raise Failed(f"expected exit code {expected}, got {code}")

    def do_option(self, name: str, value: str = "") -> None:
        if name.startswith("no-"):
            self._options.pop(name.removeprefix("no-"))
        else:
            self._options[name] = value

    def do_next(self, *words: str) -> None:
        self.close()
        other = HOSTS[1 - HOSTS.index(self._host)]
        self._on = other if words == ("attempt", "on", "the", "other", "host") else self._host

    def do_move(self) -> None:
        self.close()
        self._moves += 1
        self._location().mkdir()

    def do_kill(self, during: str = "", *call: str) -> None:
        attempt = self._started()
        if during:
            attempt.send(" ".join(call))
            time.sleep(0.05)
        self._attempt = None
        attempt.kill()

    def do_stop(self) -> None:
        self._started().signal(signal.SIGTERM)

    def do_ends(self, _with: str, code: str) -> None:
        self._end(int(code))

    def do_claim(self, text: str) -> None:
        source = self._directory / "imported"
        source.write_text(text, encoding="utf-8")
        self._tool("import", source, self._location())

    def do_damage(self, which: str, what: str) -> None:
        for path in self._stored(which, what):
            contents = bytearray(path.read_bytes())
            contents[len(contents) // 2] ^= 1
            path.chmod(0o600)
            path.write_bytes(contents)

    def do_delete(self, which: str, what: str) -> None:
        for path in self._stored(which, what):
            path.unlink()

    def _stored(self, which: str, what: str) -> list:
        """Returns the files of commits or of data objects, newest first. FORMAT.md describes their names."""
        if what == "record":
            # The newest sorts first. A record says at offset 10 whether it is a claim or a commit.
            records = sorted((self._location() / "log").iterdir())
            found = [path for path in records if path.read_bytes()[10:12] == b"\x02\x00"]
        else:
            objects = (self._location() / "data").iterdir()
            found = sorted(objects, key=lambda path: [int(n) for n in path.name.split("-")], reverse=True)
        if not found:
            raise Failed(f"the location has no {what}")
        return found[:1] if which == "newest" else found

    def _path(self, path: str) -> Path:
        return self._data / path

    def do_put(self, path: str, *contents: str) -> None:
        self._path(path).parent.mkdir(parents=True, exist_ok=True)
        self._path(path).write_bytes(file_contents(contents))

    def do_tree(self, path: str) -> None:
        root = self._path(path)
        for directory in ("deep/er/empty", "deep/est", "empty"):
            (root / directory).mkdir(parents=True)
        for name, contents in {"a": b"a", "none": b"", "deep/er/b": b"b", "deep/large": pattern(9, 200_000)}.items():
            (root / name).write_bytes(contents)

    def do_files(self, path: str, count: str) -> None:
        for number in range(int(count)):
            file = self._path(path) / str(number % 7) / f"file {number}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"contents of file {number}")

    def do_directory(self, path: str) -> None:
        self._path(path).mkdir(parents=True)

    def do_link(self, path: str, target: str) -> None:
        self._path(path).symlink_to(target)

    def do_mode(self, path: str, mode: str) -> None:
        self._path(path).chmod(int(mode, 8))

    def do_remove(self, path: str) -> None:
        self._path(path).unlink()

    def do_expect(self, path: str, *contents: str) -> None:
        file = self._path(path)
        if not file.is_file():
            raise Failed(f"there is no file {path}")
        found, expected = file.read_bytes(), file_contents(contents)
        if found != expected:
            raise Failed(f"{path}\n    expected: {expected[:100]!r}\n    contains: {found[:100]!r}")

    def do_same(self, one: str, other: str) -> None:
        before, after = listed(self._path(one)), listed(self._path(other))
        differing = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        if differing:
            name = differing[0]
            raise Failed(
                f"{one} and {other} differ in {len(differing)} entries, the first of which is {name!r}"
                f"\n    {one}: {before.get(name)!r:.100}\n    {other}: {after.get(name)!r:.100}"
            )

    def do_missing(self, path: str) -> None:
        if os.path.lexists(self._path(path)):
            raise Failed(f"there is {path}")

    def do_nothing(self, name: str) -> None:
        if os.path.lexists(self._directory / name):
            raise Failed(f"there is {name} beside the directory of the task")

    def do_annotations(self, *expected: str) -> None:
        found = self._show()["annotations"]
        shown = " ".join(f"{key}={value}" for key, value in sorted(found.items()))
        if shown != " ".join(expected):
            raise Failed(f"annotations\n    expected: {' '.join(expected)}\n    found: {shown}")

    def do_annotation(self, expected: str) -> None:
        key, _, value = expected.partition("=")
        found = self._show()["annotations"]
        if found.get(key) != value:
            raise Failed(f"annotation\n    expected: {expected}\n    found: {found}")

    def do_schema(self, expected: str) -> None:
        found = self._show()["schema"]
        if found != expected:
            raise Failed(f"schema\n    expected: {expected}\n    found: {found}")

    def do_checkpoints(self, expected: str) -> None:
        found = len(self._tool("ls", "--json", self._location())["checkpoints"])
        if found != int(expected):
            raise Failed(f"expected {expected} checkpoints, found {found}")

    def _show(self) -> dict:
        return self._tool("show", "--json", self._location())

    def _tool(self, *command) -> dict:
        """Runs a command of `wasm-checkpoint`, and returns what it prints with `--json`."""
        done = subprocess.run(
            ["wasm-checkpoint", *map(str, command)], capture_output=True, text=True, timeout=TIMEOUT_SECONDS
        )
        if done.returncode != 0:
            raise Failed(f"wasm-checkpoint {command[0]} failed: {done.stderr.strip()}")
        return json.loads(done.stdout) if "--json" in command else {}


def arguments(text: str) -> list:
    """Splits the arguments of an action. Those that begin with a quote are JSON strings."""
    found = []
    while text:
        if text.startswith('"'):
            value, end = json.JSONDecoder().raw_decode(text)
            found.append(Text(value))
            text = text[end:].removeprefix(" ")
        else:
            word, _, text = text.partition(" ")
            found.append(word)
    return found


class Text(str):
    """An argument that was quoted."""


def file_contents(words: tuple) -> bytes:
    if isinstance(words[0], Text):
        return words[0].encode()
    assert words[0] == "pattern", words
    return patterns(words[1:])


def listed(root: Path) -> dict:
    """Returns all that two equal directories or files have in common."""
    found, pending = {}, [root]
    while pending:
        path = pending.pop()
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = ("link", os.readlink(path))
        elif path.is_dir():
            found[name] = ("directory",)
            pending += path.iterdir()
        elif path.exists():
            found[name] = ("file", oct(path.stat().st_mode & 0o777), path.read_bytes())
    return found


# Results.


def run_case(case: Case, guest: Guest, host: str) -> str:
    """Runs a case, and returns why it fails, or an empty text if it passes."""
    with tempfile.TemporaryDirectory() as directory:
        run = Run(guest, host, Path(directory))
        number = 0
        try:
            for number, is_call, text in case.steps:
                run.perform(is_call, text)
            run.close()
            return ""
        except Failed as failure:
            run.abandon()
            said = run.log.read_text(errors="replace").strip().splitlines()[-5:] if run.log.exists() else []
            return "\n".join([f"  cases.txt:{number}: {failure}", *(f"    stderr: {line}" for line in said)])
        finally:
            run.abandon()


def build(name: str, directory: Path) -> Guest:
    """Builds the guest of a language, and lets its hosts compile it."""
    language = LANGUAGES[name]
    guest = Guest(directory / f"{name}.wasm", directory / f"{name}-composed.wasm", language.options)
    places = {"here": HERE, "guest": GUEST, "out": guest.plain}
    began = time.monotonic()
    subprocess.run([part.format(**places) for part in language.build], check=True)
    if "composed" in language.hosts:
        composed = subprocess.run(
            ["wasm-checkpoint", "compose", guest.plain, "-o", guest.composed], capture_output=True, text=True
        )
        if composed.returncode != 0:
            sys.exit(f"{name}: {composed.stderr}")
    print(f"{name}: built in {time.monotonic() - began:.0f} s", flush=True)
    for host in language.hosts:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as place:
            run = Run(guest, host, Path(place))
            attempt = Attempt(run.command(), run.log)
            code = attempt.end(COMPILE_SECONDS)
            if code != 0:
                sys.exit(f"{name}: the guest fails on the {host} host: {run.log.read_text(errors='replace')}")
        print(f"{name}: first start on the {host} host took {time.monotonic() - began:.1f} s", flush=True)
    return guest


def run_language(name: str, cases: list, directory: Path) -> tuple:
    """Runs the cases, and returns the cell of the table for each case and host, and the number of failures."""
    language, cells, failures = LANGUAGES[name], {}, 0
    guest = build(name, directory)
    for host in language.hosts:
        began = time.monotonic()
        for case in cases:
            skipped = case.skipped(language, host)
            if skipped:
                cells[case.name, name, host] = skipped
                continue
            why = run_case(case, guest, host)
            cells[case.name, name, host] = "fails" if why else "✓"
            if why:
                failures += 1
                print(f"FAILED: {name}, {host}: {case.name}\n{why}", flush=True)
        count = [cells[case.name, name, host] for case in cases]
        passed = count.count("✓")
        failed = count.count("fails")
        print(
            f"{name}, {host}: {passed} passed, {failed} failed, {len(count) - passed - failed} skipped "
            f"in {time.monotonic() - began:.0f} s",
            flush=True,
        )
    return cells, failures


def table(cases: list, cells: dict) -> list:
    """Returns the lines of the table, of which each row is a case."""
    columns = [(name, host) for name, language in LANGUAGES.items() for host in language.hosts]
    titles = [LANGUAGES[name].title + ("" if host == "native" else ", composed") for name, host in columns]
    lines = ["| | " + " | ".join(titles) + " |", "|---|" + "---|" * len(columns)]
    for case in cases:
        lines.append(f"| {case.name} | " + " | ".join(cells.get((case.name, *column), "not run") for column in columns) + " |")
    return lines


BEGIN = "<!-- `guest/run conformance --write` makes this table. -->"
END = "<!-- The table ends here. -->"


def written_cells() -> tuple:
    """Returns the names of the cases in the table of the README, and its cells."""
    text = (GUEST / "README.md").read_text(encoding="utf-8")
    rows = text.partition(BEGIN)[2].partition(END)[0].strip().splitlines()[2:]
    columns = [(name, host) for name, language in LANGUAGES.items() for host in language.hosts]
    names, cells = [], {}
    for row in rows:
        name, *found = [cell.strip() for cell in row.strip("| ").split(" | ")]
        names.append(name)
        cells.update({(name, *column): cell for column, cell in zip(columns, found)})
    return names, cells


def write_table(lines: list) -> None:
    path = GUEST / "README.md"
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(before + "\n".join([BEGIN, "", *lines, "", END]) + after, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("languages", nargs="*", metavar="LANGUAGE", help=f"any of: {', '.join(LANGUAGES)}")
    parser.add_argument("--write", action="store_true", help="write the table into guest/README.md")
    parser.add_argument("--case", default="", metavar="REGEX", help="run only the cases whose name matches")
    options = parser.parse_args()
    unknown = set(options.languages) - set(LANGUAGES)
    if unknown:
        parser.error(f"unknown language: {', '.join(sorted(unknown))}")
    if options.write and options.case:
        parser.error("--write needs the results of all cases")
    all_cases = load_cases()
    cases = [case for case in all_cases if re.search(options.case, case.name)]
    if not cases:
        parser.error(f"no case has a name that matches {options.case!r}")

    # Modes of files are compared.
    os.umask(0o022)
    cells, failures = {}, 0
    with tempfile.TemporaryDirectory() as directory:
        for name in options.languages or LANGUAGES:
            found, failed = run_language(name, cases, Path(directory))
            cells.update(found)
            failures += failed
    if options.write:
        # Other languages keep their columns.
        write_table(table(cases, {**written_cells()[1], **cells}))
    else:
        names, written = written_cells()
        if names != [case.name for case in all_cases]:
            sys.exit("the table in guest/README.md has other cases; run `guest/run conformance --write`")
        for place, cell in cells.items():
            if cell != "fails" and written.get(place) != cell:
                sys.exit(f"the table in guest/README.md says {written.get(place)!r}, not {cell!r}, of {place}")
    if failures:
        sys.exit(f"{failures} cases failed")


if __name__ == "__main__":
    main()
