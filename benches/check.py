#!/usr/bin/env python3
"""Instructions per line of every stage, against benches/baseline.json: fails where one takes over 3 % more.

Each stage runs under callgrind with N and with 2N passes; the difference is N passes without start and end. Build before:
    cargo build --release -p ripsaw-engine -p ripsaw-benches --bin stage
Usage: check.py [--record] [--binary PATH] [STAGE ...]
    --record    write the counts to the baseline (of the named stages, or of all)
Where the time goes in a stage: valgrind --tool=callgrind stage NAME 100, then callgrind_annotate --auto=yes.
Only Python's own library is used. Without valgrind, or on another SIMD tier than the baseline's, nothing is checked.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
BASELINE = HERE / "baseline.json"
PASSES = 4  # the first passes grow the working memory; 2N - N leaves only later ones
MORE_MAX = 0.03


def collected(binary, stage, passes):
    """Instructions of a whole run."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", binary, stage, str(passes)]
    # The allocator must not give memory back and ask for it again, which would count the kernel's answers.
    environment = dict(os.environ, MALLOC_TRIM_THRESHOLD_="1073741824", MALLOC_MMAP_THRESHOLD_="1073741824")
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    found = re.search(r"Collected : (\d+)", run.stderr)
    if run.returncode != 0 or not found:
        sys.exit(f"check: stage {stage} does not run under valgrind:\n{run.stderr}")
    return int(found.group(1))


def per_line(binary, stage, lines):
    once, twice = (collected(binary, stage, passes) for passes in (PASSES, 2 * PASSES))
    return round((twice - once) / (PASSES * lines), 1)


def measure(binary, stages, lines):
    """Counts by stage; as many at a time as there are processors."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(stages, pool.map(lambda stage: per_line(binary, stage, lines), stages)))


def rustc():
    return subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True).stdout.strip()


def compare(counts, old):
    """Prints all stages; the names of those that take too many more."""
    worse = []
    for stage, count in counts.items():
        before = old.get(stage)
        change = None if before is None else count / before - 1
        print(f"{stage:20} {count:9.1f} {'new' if change is None else f'{change:+8.1%}'}")
        if change is None or change > MORE_MAX:
            worse.append(stage)
    return worse


def arguments():
    parser = argparse.ArgumentParser(description="Instructions per line, against the baseline.")
    parser.add_argument("stages", nargs="*", metavar="STAGE")
    parser.add_argument("--record", action="store_true", help="write the counts to the baseline")
    parser.add_argument("--binary", default=str(HERE.parent / "target" / "release" / "stage"))
    return parser.parse_args()


def main():
    given = arguments()
    if not shutil.which("valgrind"):
        return print("check: skipped, there is no valgrind")
    about = json.loads(subprocess.run([given.binary, "--list"], capture_output=True, text=True, check=True).stdout)
    unknown = [stage for stage in given.stages if stage not in about["stages"]]
    if unknown:
        sys.exit(f"check: there is no stage {', '.join(unknown)}; there are {', '.join(about['stages'])}")
    baseline = json.loads(BASELINE.read_text()) if BASELINE.exists() else {"instructions_per_line": {}}
    if not given.record and baseline.get("tier") != about["tier"]:
        return print(f"check: skipped, this machine runs {about['tier']}, the baseline {baseline.get('tier')}")
    if baseline.get("rustc") not in (None, rustc()):
        print(f"check: the baseline is of {baseline['rustc']}, this is {rustc()}")
    counts = measure(given.binary, given.stages or about["stages"], about["lines"])
    old = baseline["instructions_per_line"]
    worse = compare(counts, old)
    if given.record:
        merged = {**old, **counts} if given.stages else counts
        baseline = {"rustc": rustc(), "tier": about["tier"], "instructions_per_line": merged}
        BASELINE.write_text(json.dumps(baseline, indent=2) + "\n")
    elif worse:
        sys.exit(f"check: over {MORE_MAX:.0%} more instructions, or no baseline: {', '.join(worse)}")


if __name__ == "__main__":
    main()
