#!/bin/sh
# What many idle files cost: start-up, CPU, memory, descriptors, system calls.
# usage: perf/idle.sh ENGINE [FILES [SECONDS [OPEN_FILES_LIMIT]]]     (defaults: 10000 60 20000)
set -eu
engine=$1 files=${2:-10000} seconds=${3:-60} limit=${4:-20000}
ulimit -n "$limit"
work=$(mktemp -d)
trap 'kill "$pid" 2>/dev/null || true; rm -rf "$work"' EXIT
mkdir "$work/logs"
seq "$files" | (cd "$work/logs" && while read -r n; do echo "line $n" > "$n.log"; done)
cat > "$work/c.conf" <<CONF
[SERVICE]
    Flush  0.2
[INPUT]
    Name            tail
    Path            $work/logs/*.log
    Read_from_Head  on
[OUTPUT]
    Name   file
    Match  *
    Path   $work
    File   out
CONF
lines() { if [ -f "$work/out" ]; then wc -l < "$work/out"; else echo 0; fi; }
ticks() { awk '{ print $14 + $15 }' "/proc/$pid/stat"; }
memory() { grep -E '^(VmHWM|VmRSS|RssAnon)' "/proc/$pid/status" | tr -s '\t\n ' ' '; }

begun=$(date +%s%N)
"$engine" -q -c "$work/c.conf" & pid=$!
while [ "$(lines)" -lt "$files" ] && [ $(($(date +%s%N) - begun)) -lt 60000000000 ]; do sleep 0.02; done
echo "start to all $(lines) lines delivered: $((($(date +%s%N) - begun) / 1000000)) ms"
sleep 3
echo "CPU until idle: $(ticks)0 ms; memory: $(memory)"
echo "descriptors: $(ls "/proc/$pid/fd" | wc -l), inotify: $(find "/proc/$pid/fd" -lname '*inotify*' | wc -l)"
before=$(ticks)
sleep "$seconds"
echo "CPU while idle: $(($(ticks) - before))0 ms in $seconds s; memory: $(memory)"
if command -v strace > /dev/null; then
    timeout -s INT 10 strace -c -f -o "$work/calls" -p "$pid" 2> /dev/null || true
    echo "system calls in 10 s: $(awk '$NF == "total" { print $4 }' "$work/calls")"
fi
