#!/usr/bin/env python3
"""Measures CPU per operation of the same work on five runtimes, interleaved, and prints medians.

Usage: run.py [--rounds N] [--seconds S] [--file PATH] [--only NAME,...] [--skip-disk] [--skip-http]
CPU is what the scheduler accounts to the server's threads (schedstat), kernel workers on its behalf
included. On a shared machine this is the trusted figure; rates depend on the neighbours.
"""
import argparse, os, platform, statistics, subprocess, sys, time

HERE = os.path.dirname(os.path.abspath(__file__))
TARGET = os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(HERE, "target")), "release")
CANDIDATES = {
    "stria uring": ("rt-stria", {}),
    "stria epoll": ("rt-stria", {"BACKEND": "epoll"}),
    "tokio": ("rt-tokio", {}),
    "monoio": ("rt-monoio", {}),
    "compio": ("rt-compio", {}),
    "glommio": ("rt-glommio", {}),
}
SERVER_CPU, CLIENT_CPU = "0", "1"
FILE_BYTES = 1 << 30


def cpu_ns(pid):
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/schedstat") as f:
                total += int(f.read().split()[0])
        except FileNotFoundError:
            pass
    return total


def http(name, body, connections, seconds, port):
    binary, extra = CANDIDATES[name]
    server = subprocess.Popen(
        [f"{TARGET}/{binary}", "http", "--port", str(port), "--body", str(body), "--cpu", SERVER_CPU],
        env={**os.environ, **extra})
    try:
        time.sleep(0.3)
        before = cpu_ns(server.pid)
        load = subprocess.run(
            [f"{TARGET}/load", "http", "--port", str(port), "--body", str(body), "--cpu", CLIENT_CPU,
             "--connections", str(connections), "--seconds", str(seconds)],
            capture_output=True, text=True, timeout=60)
        used = cpu_ns(server.pid) - before
        answers = int(load.stdout.split()[0]) if load.stdout.split() else 0
        if answers == 0:
            return None, load.stderr.strip().splitlines()[-1:] or "no answer"
        return used / answers / 1e3, answers / seconds
    finally:
        server.kill()
        server.wait()


def disk(name, mode, ops, path):
    binary, extra = CANDIDATES[name]
    done = subprocess.run(
        [f"{TARGET}/{binary}", "disk", "--path", path, "--mode", mode, "--ops", str(ops), "--cpu", SERVER_CPU],
        env={**os.environ, **extra}, capture_output=True, text=True, timeout=120)
    fields = dict(word.split("=") for word in done.stdout.split() if "=" in word)
    if "cpu_us_per_op" not in fields:
        return None, (done.stderr.strip().splitlines() or ["no result"])[0]
    return float(fields["cpu_us_per_op"]), float(fields["ops_per_s"])


def prepare(path):
    if not os.path.exists(path) or os.path.getsize(path) != FILE_BYTES:
        with open(path, "wb") as f:
            for _ in range(FILE_BYTES >> 20):
                f.write(os.urandom(1 << 20))
            f.flush()
            os.fsync(f.fileno())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=1)
    parser.add_argument("--file", default="/tmp/stria-runtimes.bin")
    parser.add_argument("--only", default="")
    parser.add_argument("--skip-disk", action="store_true")
    parser.add_argument("--skip-http", action="store_true")
    options = parser.parse_args()
    names = [n for n in CANDIDATES if not options.only or n in options.only.split(",")]
    commit = subprocess.run(["git", "-C", HERE, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    print("command:", " ".join(sys.argv))
    print("kernel:", platform.release(), "cpus:", os.cpu_count(), "load:", os.getloadavg())
    print("commit:", commit.stdout.strip())
    works = [("http 1 KiB c=32", lambda n, p: http(n, 1024, 32, options.seconds, p)),
             ("http 1 MiB c=8", lambda n, p: http(n, 1 << 20, 8, options.seconds, p))]
    if options.skip_http:
        works = []
    if not options.skip_disk:
        prepare(options.file)
        works += [("disk rr4k qd32", lambda n, _: disk(n, "rr4k", 20_000, options.file)),
                  ("disk sw64k qd32", lambda n, _: disk(n, "sw64k", 4_000, options.file)),
                  ("disk durable 4k", lambda n, _: disk(n, "durable", 300, options.file))]
    port = 18_100
    for work, measure in works:
        results = {n: [] for n in names}
        for _ in range(options.rounds):
            for name in names:
                port += 1
                cpu, rate = measure(name, port)
                if cpu is None:
                    print("raw", work, "|", name, "| failed:", rate, flush=True)
                    continue
                results[name].append((cpu, rate))
                print("raw", work, "|", name, f"| cpu_us={cpu:.2f} rate={rate:.0f}", flush=True)
        for name in names:
            if results[name]:
                cpus = sorted(cpu for cpu, _ in results[name])
                rate = statistics.median(rate for _, rate in results[name])
                print(f"{work:16} {name:12} cpu_us/op median={statistics.median(cpus):8.2f} "
                      f"min={cpus[0]:8.2f} max={cpus[-1]:8.2f} rate={rate:8.0f} n={len(cpus)}", flush=True)


main()
