"""One record and fifty records per POST, against a bare server that only answers 200: `python -m bench`.

Real HTTP on loopback, `appendfsync always`, the JSON log on, both policies computed, a realistic mix of records and
meetings from the simulator, 32 keep-alive connections. The three contenders take turns, and medians are printed.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Final

import uvloop

from bench.load import Load, request, send
from cdr_service.simulator.records import document
from cdr_service.simulator.scenarios import documents, generate

RUNS: Final = 3
CONNECTIONS: Final = 32
MEETINGS: Final = 400


def batches(seed: int, size: int) -> tuple[list[list[bytes]], int]:
    """Return the requests of each connection, `size` records in each, and how many records there are."""
    scenario = generate(seed, meetings=MEETINGS, bridges=CONNECTIONS, rate=50, sessions=str(seed))
    numbered = defaultdict(list)
    for each in documents(scenario, largest=1):
        numbered[each.bridge].extend(each.records)
    posts = [
        [
            request(f"/cdr?bridge={bridge.name}", document(bridge, records[at : at + size]).body)
            for at in range(0, len(records), size)
        ]
        for bridge, records in numbered.items()
    ]
    return posts, sum(map(len, numbered.values()))


@contextmanager
def bare() -> Iterator[int]:
    """Run the bare server; gives its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.bare"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()


@contextmanager
def service(workers: int = 1) -> Iterator[int]:
    """Run the service on an empty embedded store, its log going to a file; gives its port."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        environ = {"CDR_DATA_DIR": f"{folder}/data", "CDR_INTAKE_BIND": ":0", "CDR_API_BIND": ":0", "PATH": "/usr/bin"}
        command = [sys.executable, "-m", "cdr_service", "serve", "--workers", str(workers)]
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL, env=environ)
            try:
                yield _port(process, log)
            finally:
                process.terminate()
                process.wait()


def _port(process: "subprocess.Popen[bytes]", log: Path) -> int:
    while process.poll() is None:
        for line in log.read_text().splitlines():
            told = json.loads(line)
            if told["event"] == "service.started":
                return int(told["intake_url"].rsplit(":", 1)[1].partition("/")[0])
        time.sleep(0.02)
    raise RuntimeError("the service did not start")


def run(size: int, seed: int) -> tuple[Load, Load]:
    """Send the same documents to the bare server and to the service."""
    posts, records = batches(seed, size)
    with bare() as port:
        plain = uvloop.run(send(port, posts, records))
    with service() as port:
        whole = uvloop.run(send(port, posts, records))
    return plain, whole


def main() -> None:
    """Print the figures as a table."""
    print(f"{MEETINGS} meetings, {CONNECTIONS} connections, medians of {RUNS} runs")
    print(f"{'':>24} {'bare 200':>12} {'service':>12} {'ratio':>8} {'median time to the 200':>24}")
    one_by_one = 0.0
    for size in (1, 50):
        results = [run(size, seed) for seed in range(1, RUNS + 1)]
        plain = median(p.records_per_second for p, _ in results)
        whole = median(w.records_per_second for _, w in results)
        ratio = median(w.records_per_second / p.records_per_second for p, w in results)
        wait = median(w.median for _, w in results)
        print(
            f"{size:>3} record(s) per POST    {plain:>10.0f}/s {whole:>10.0f}/s {ratio:>7.0%} {wait * 1000:>21.2f} ms"
        )
        if size == 1:
            one_by_one = whole
        else:
            print(f"{size} per POST against 1 per POST: {whole / one_by_one:.2f} times the records per second")


if __name__ == "__main__":
    main()
