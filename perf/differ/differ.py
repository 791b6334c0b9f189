#!/usr/bin/env python3
"""Differential fuzzer: random configurations over hostile lines, run through two engines, differences made small.

    perf/differ/differ.py --ours target/release/ripsaw --peer PATH_OF_FLUENT_BIT --runs 20000 --jobs 16 --seed 1

Each run writes a case (see generate.py) into a folder of its own, runs both programs in it until they end by
`Exit_On_Eof`, and compares what their `file` outputs wrote, tag by tag, and the exit codes. A difference that is still there with nothing
beside it is minimised by taking sections, options and lines away while it stays, printed, and (with --keep) kept as a folder. The same seed makes
the same cases. Exit status: 0 nothing differs, 1 something does.
"""

import argparse
import collections
import concurrent.futures
import json
import random
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import generate

# A record without a time of its own has that of its reading.
NOW = re.compile(r"\[%s\d{5}\.\d+" % str(int(time.time()))[:5])
LIMIT_S = 20


def run(binary, case, folder):
    """Runs a program over a case; gives its exit code and what it wrote, by tag."""
    folder.mkdir(parents=True)
    (folder / "case.conf").write_text(case.configuration().replace("@DIR@", str(folder)))
    (folder / "parsers.conf").write_text(case.parsers_file())
    (folder / "in.log").write_text("".join(line + "\n" for line in case.lines), encoding="utf-8", newline="")
    try:
        code = subprocess.run([binary, "-q", "-c", "case.conf"], cwd=folder, timeout=LIMIT_S, stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
    except subprocess.TimeoutExpired:
        code = "timeout"
    wrote = {}
    for path in sorted((folder / "out").glob("*")) if (folder / "out").is_dir() else []:
        text = path.read_text(encoding="utf-8", errors="backslashreplace").replace(str(folder), "@DIR@")
        wrote[path.name] = NOW.sub("[now", text).splitlines()
        if any(s.lines[0] == ("Name", "lua") for s in case.sections):
            # A Lua table has no order.
            wrote[path.name] = [sorted_keys(line) for line in wrote[path.name]]
    shutil.rmtree(folder)
    return code, wrote


def sorted_keys(line):
    """A line of the file output with the keys of its record in order."""
    head, brace, record = line.partition(", {")
    try:
        return head + ", " + json.dumps(json.loads("{" + record[:-1]), sort_keys=True) if brace else line
    except ValueError:
        return line


class Differ:
    def __init__(self, options):
        self.options = options
        self.root = Path(tempfile.mkdtemp(prefix="differ"))
        self.count = 0

    def differs(self, case, name):
        """What the two make of a case, or None when it is the same."""
        # The peer may need a second look: it loses what is in flight when it ends at a bad moment.
        for _ in range(2):
            ours = run(self.options.ours, case, self.root / f"{name}-a")
            peer = run(self.options.peer, case, self.root / f"{name}-a")
            if ours == peer or (ours[0] != 0 and peer[0] != 0 and "timeout" not in (ours[0], peer[0]) and peer[0] > 0):
                return None
        return ours, peer

    def minimise(self, case, name, codes):
        """The smallest case found that still differs, both ending with the same codes."""
        smaller = True
        while smaller:
            smaller = False
            for candidate in candidates(case):
                found = self.differs(candidate, name)
                if found and [code for code, _ in found] == codes:
                    case, smaller = candidate, True
                    break
        return case

    def one(self, seed):
        case = generate.case(random.Random(seed), self.options.filters)
        return seed, case, self.differs(case, f"case-{seed}")

    def confirm(self, seed, case):
        """Looks again with nothing beside it: on a busy machine the peer loses what a slow moment left in flight."""
        name = f"case-{seed}"
        found = self.differs(case, name)
        if found and self.options.minimise:
            case = self.minimise(case, name, [code for code, _ in found])
            found = self.differs(case, name) or found
        return case, found


def candidates(case):
    """Cases with one piece less."""
    if len(case.lines) > 2:
        for half in (case.lines[: len(case.lines) // 2], case.lines[len(case.lines) // 2:]):
            copy = case.copy()
            copy.lines = half
            yield copy
    for at in range(len(case.lines)):
        if len(case.lines) > 1:
            copy = case.copy()
            del copy.lines[at]
            yield copy
    for group in ("sections", "parsers"):
        for at, section in enumerate(getattr(case, group)):
            if section.kind in ("FILTER", "PARSER"):
                copy = case.copy()
                del getattr(copy, group)[at]
                yield copy
            if section.kind in ("SERVICE", "OUTPUT"):
                continue
            for line in range(1, len(section.lines)):
                if section.lines[line][0] in ("Path", "Exit_On_Eof", "Match", "Read_from_Head"):
                    continue
                copy = case.copy()
                del getattr(copy, group)[at].lines[line]
                yield copy


def show(seed, case, found, keep):
    (ours_code, ours), (peer_code, peer) = found
    text = [f"--- seed {seed}", case.configuration() + case.parsers_file(), *[f"line: {line!r}" for line in case.lines]]
    if ours_code != peer_code:
        text.append(f"exit code: ours {ours_code}, peer {peer_code}")
    for tag in sorted(set(ours) | set(peer)):
        if ours.get(tag) != peer.get(tag):
            text += [f"tag {tag}:", *[f"  ours {line}" for line in ours.get(tag, [])], *[f"  peer {line}" for line in peer.get(tag, [])]]
    print("\n".join(text), flush=True)
    if keep:
        folder = Path(keep) / str(seed)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "case.conf").write_text(case.configuration())
        (folder / "parsers.conf").write_text(case.parsers_file())
        (folder / "in.log").write_text("".join(line + "\n" for line in case.lines), newline="")
        (folder / "difference.txt").write_text("\n".join(text))


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--ours", required=True, type=lambda p: str(Path(p).resolve()))
    arguments.add_argument("--peer", required=True, type=lambda p: str(Path(p).resolve()))
    arguments.add_argument("--runs", type=int, default=1000)
    arguments.add_argument("--jobs", type=int, default=16)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--filters", type=lambda t: t.split(","), default=[*generate.FILTERS, "parser"])
    arguments.add_argument("--keep", help="folder for the cases that differ")
    arguments.add_argument("--no-minimise", dest="minimise", action="store_false")
    arguments.add_argument("--stop-after", type=int, default=200, help="stop after so many runs that have to be looked at again")
    options = arguments.parse_args()
    differ, suspects, covered, done = Differ(options), [], collections.Counter(), 0
    try:
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            seeds = iter(range(options.seed, options.seed + options.runs))
            waiting = {pool.submit(differ.one, seed) for _, seed in zip(range(options.jobs * 2), seeds)}
            while waiting:
                ready, waiting = concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
                for future in ready:
                    seed, case, found = future.result()
                    done += 1
                    covered.update(f"{s.lines[0][1]}.{key}".lower() for s in case.sections if s.kind in ("INPUT", "FILTER") for key, _ in s.lines)
                    covered.update(f"parser.{key}".lower() for s in case.parsers for key, _ in s.lines)
                    if found:
                        suspects.append((seed, case))
                    if len(suspects) < options.stop_after and (seed := next(seeds, None)) is not None:
                        waiting.add(pool.submit(differ.one, seed))
        differences = 0
        for seed, case in suspects:
            case, found = differ.confirm(seed, case)
            if found:
                differences += 1
                show(seed, case, found, options.keep)
    finally:
        shutil.rmtree(differ.root, ignore_errors=True)
    print(f"{done} runs, {len(suspects)} looked at again alone, {differences} differences")
    print("covered: " + ", ".join(f"{key} {count}" for key, count in sorted(covered.items())))
    return 1 if differences else 0


if __name__ == "__main__":
    raise SystemExit(main())
