"""On AWS: what payonce's functions cost beside a plain Express + DynamoDB + SQS starter (``starter/``), on one local emulator.

Both run as functions do: a process that is handed one event after the other, as API Gateway and an SQS mapping would, and
counts are of its own CPU. The emulator takes most of the time and says nothing about AWS: so no throughput is told, and CPU is
read as a ratio. What this run polls and deletes for the mapping is nobody's CPU here.

Not equal, and said in the results: the starter looks for the key and then puts (two posts at once make two payments), writes
payment, key and message apart (a crash in between loses the payment), and its worker charges again whatever comes twice."""

import asyncio
import http.client
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any, Final, Self

from msgspec import Struct
from tools.aws.cases import plain as plain_payment

from .aws_ground import Ground, emulator, ground, units_of_starter
from .bench import Bench
from .procs import ROOT, Broken, Proc, free_port, wait_http
from .served import ACCOUNT, CONFIG, SECRET, Provider

NAME: Final = "aws"
PAYONCE, STARTER, SERVER = "payonce", "starter", "starter, as a server"
STARTER_FILES: Final = Path(__file__).parent / "starter"
PAYMENTS: Final = {"quick": 60, "normal": 250, "long": 1_500}  # settled in each way, in one turn; twice as many accepted
WARM: Final = {"quick": 100, "normal": 1_000, "long": 5_000}
TURNS: Final = 3
STARTER_CALLS: Final = 5  # get, put, put, send; and the worker's update
BATCH: Final = 10
STARTS: Final = 7  # cold starts of each function
INSTALL_S: Final = 240.0
WAIT_S: Final = 30.0


class Function:
    """One execution environment: a process with events handed to it, made when it has said that it can take them."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], log: Path, name: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.settimeout(WAIT_S)
            port = str(listening.getsockname()[1])
            self.proc = Proc.start(argv, log=log, env={**env, "BENCH_PORT": port}, cwd=ROOT, name=name)
            try:
                self._sock = listening.accept()[0]
            except TimeoutError:
                self.proc.kill()
                raise Broken(f"{name} did not start; the end of {log}:\n{self.proc.tail()}") from None
        self._sock.settimeout(WAIT_S)
        self._lines = self._sock.makefile("rwb")

    def handle(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Its answer. Raises Broken when it gives none."""
        try:
            self._lines.write(json.dumps(event).encode() + b"\n")
            self._lines.flush()
            answer: dict[str, Any] = json.loads(self._lines.readline())
        except (OSError, ValueError) as error:
            raise Broken(f"{self.proc.name} gave no answer ({error}); the end of its log:\n{self.proc.tail()}") from error
        return answer

    def close(self) -> None:
        self._lines.close()
        self._sock.close()
        self.proc.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Subject(Struct, frozen=True, kw_only=True):
    """Who is measured: how its functions are started, and the queue between them."""

    name: str
    argv: tuple[str, ...]  # the name of a function is added
    env: dict[str, str]
    headers: dict[str, str]
    queue: str

    def function(self, name: str, folder: Path) -> Function:
        return Function([*self.argv, name], self.env, folder / f"{self.name}-{name}.log", f"{self.name} {name}")


def run(bench: Bench) -> None:
    """See the module docstring."""
    missing = [each for each in ("node", "npm") if shutil.which(each) is None]
    missing += [] if emulator() else ["ministack (make test installs it)"]
    if missing:
        bench.note(f"not run: there is no {' and no '.join(missing)} on this machine")
        return
    folder = bench.folder / "aws"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        starter = installed(bench)
    except Broken as error:
        bench.note(f"not run: the starter could not be installed: {error}")
        return
    with Provider(folder, python=bench.python) as provider, ground(folder) as g:
        subjects = (payonce(bench, folder, g, provider.url), plain(starter, g, provider.url))
        _warm_figures(bench, subjects, g, folder)
        _cold(bench, subjects, g, folder)
        _check(bench, provider, g, subjects)
        _counted(bench, g)
    for text in NOTES:
        bench.note(text)


NOTES: Final = (
    "CPU is that of the function's own process, an event at a time. The emulator's is not in it; its throughput is not told.",
    "The starter's API stands behind serverless-http, so that it gets the same events; as a server it reads HTTP besides.",
    (
        "The starter promises less: it looks for the key and then puts (two posts at once make two payments), writes payment, "
        "key and message apart (a crash in between leaves a payment that nobody charges), has no record of a call before it "
        "is made, no history, no sweeper, no check of who asks, and charges again what is delivered twice (here the provider "
        "knows the key). That is what payonce's further calls and units are for."
    ),
    "Both are loaded from their files: neither is bundled or packed for a start on Lambda (tools/coldstart.py does that).",
)


# --- who is measured ------------------------------------------------------------------------------------------------------


def installed(bench: Bench) -> Path:
    """The starter with its packages, in build/bench/starter; what is there and as locked is used again. Raises Broken."""
    folder = ROOT / "build" / "bench" / "starter"
    folder.mkdir(parents=True, exist_ok=True)
    locked = (STARTER_FILES / "package-lock.json").read_bytes()
    mark = folder / "node_modules" / ".of-lock.json"
    for file in STARTER_FILES.iterdir():
        shutil.copy2(file, folder / file.name)
    if mark.exists() and mark.read_bytes() == locked:
        return folder
    bench.say("installing the starter's packages")
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    except subprocess.TimeoutExpired:
        raise Broken("npm took too long") from None
    if done.returncode:
        raise Broken(done.stderr[-500:])
    mark.write_bytes(locked)
    return folder


def payonce(bench: Bench, folder: Path, g: Ground, provider: str) -> Subject:
    """Its functions, with the account that the other sections have."""
    config = folder / "payonce.toml"
    config.write_text(CONFIG.format(account=ACCOUNT, url=provider, secret=SECRET), encoding="utf-8")
    env = {**g.env, SECRET: "bench", "PAYONCE_CONFIG": str(config), "AWS_LAMBDA_FUNCTION_NAME": "bench"}
    return Subject(
        name=PAYONCE,
        argv=(bench.python, "-m", "benchmarks.aws_runtime"),
        env=env,
        headers={"authorization": f"Bearer {g.key}"},
        queue=g.env["PAYONCE_QUEUE_URL"],
    )


def plain(folder: Path, g: Ground, provider: str) -> Subject:
    """The starter."""
    return Subject(
        name=STARTER,
        argv=("node", str(folder / "runtime.js")),
        env={**g.starter_env, "PROVIDER_URL": provider, "NODE_ENV": "production"},
        headers={},
        queue=g.starter_env["SQS_QUEUE_URL"],
    )


# --- what is measured -----------------------------------------------------------------------------------------------------


def posted(subject: Subject, key: str) -> dict[str, Any]:
    """The event of API Gateway (payload format 2.0) for a new payment."""
    body = {"amount": 1050, "currency": "INR", "paymentMethod": "tok_ok", "clientId": "shop-7"}
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/payments",
        "rawQueryString": "",
        "headers": {
            "host": "api.example",
            "content-type": "application/json",
            "idempotency-key": key,
            "user-agent": "bench",
            "x-forwarded-proto": "https",
            **subject.headers,
        },
        "requestContext": {
            "http": {"method": "POST", "path": "/payments", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "b"},
            "stage": "$default",
            "requestId": f"{key}=",
            "domainName": "api.example",
        },
        "body": json.dumps(body),
        "isBase64Encoded": False,
    }


def _accept(function: Function, subject: Subject, keys: Iterator[str], times: int) -> None:
    for _ in range(times):
        answer = function.handle(posted(subject, next(keys)))
        if answer["statusCode"] != 202:
            raise Broken(f"{subject.name} answered {answer['statusCode']}: {answer.get('body')}")


def _settle(function: Function, subject: Subject, g: Ground, times: int, batch: int) -> int:
    """Hand out so many messages, ``batch`` in an event; how many calls of the function that took."""
    events = left = 0
    while left < times:
        messages = g.received(subject.queue, min(batch, times - left))
        answer = function.handle({"Records": messages})
        if answer["batchItemFailures"]:
            raise Broken(f"{subject.name} gave messages back; the end of its log:\n{function.proc.tail()}")
        g.delete(subject.queue, messages)
        left, events = left + len(messages), events + 1
    return events


def _warm_figures(bench: Bench, subjects: Sequence[Subject], g: Ground, folder: Path) -> None:
    """Environments that live for long, as busy ones do: warmed, then in turns."""
    with ExitStack() as stack:
        all_of_them: list[Warm | Server] = []
        for each in subjects:
            functions = [stack.enter_context(each.function(name, folder)) for name in ("api", "worker")]
            all_of_them.append(Warm(each, g, *functions))
        all_of_them.append(stack.enter_context(Server(subjects[1], folder)))
        for contender in all_of_them:
            bench.say(f"warming: {contender.name}")
            contender.warm(WARM[bench.scale])
        for turn in range(bench.times(TURNS)):
            for contender in all_of_them if turn % 2 == 0 else all_of_them[::-1]:
                bench.say(f"turn {turn + 1}: {contender.name}")
                contender.turn(bench, PAYMENTS[bench.scale])


class Warm:
    """The two functions of one subject, and what they are given."""

    def __init__(self, subject: Subject, g: Ground, api: Function, worker: Function) -> None:
        self.subject, self.name = subject, subject.name
        self._g, self._api, self._worker = g, api, worker
        self._keys = (f"{subject.name}-{n}" for n in count())

    def warm(self, times: int) -> None:
        """V8 compiles what it has seen often, and costs half after a thousand."""
        _accept(self._api, self.subject, self._keys, times)
        _settle(self._worker, self.subject, self._g, times, 1)

    def turn(self, bench: Bench, times: int) -> None:
        """Accept, then settle what was accepted: half of it one by one, half in batches."""
        before = self._api.proc.cpu_s()
        _accept(self._api, self.subject, self._keys, 2 * times)
        spent = (self._api.proc.cpu_s() - before) / (2 * times)
        bench.row("accept", self.name, "CPU per accepted payment", "ms", spent * 1000)
        bench.row("accept", self.name, "memory", "MiB", self._api.proc.rss_mib())
        for case, batch in (("settle, one in an event", 1), (f"settle, up to {BATCH} in an event", BATCH)):
            before = self._worker.proc.cpu_s()
            _settle(self._worker, self.subject, self._g, times, batch)
            spent = (self._worker.proc.cpu_s() - before) / times
            bench.row(case, self.name, "CPU per settled payment", "ms", spent * 1000)
        bench.row("settle", self.name, "memory", "MiB", self._worker.proc.rss_mib())


class Server:
    """The starter's API as `npm start` runs it, with one client that keeps its connection."""

    name = SERVER

    def __init__(self, starter: Subject, folder: Path) -> None:
        self._starter, port = starter, free_port()
        argv = ["node", str(Path(starter.argv[1]).with_name("server.js"))]
        env = {**starter.env, "PORT": str(port)}
        self._proc = Proc.start(argv, log=folder / "server.log", env=env, name=SERVER)
        wait_http(f"http://127.0.0.1:{port}/livez", self._proc)
        self._client = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
        self._keys = (f"server-{n}" for n in count())

    def warm(self, times: int) -> None:
        """Post so many."""
        self._client.close()  # it hangs up after five seconds of rest
        for _ in range(times):
            event = posted(self._starter, next(self._keys))
            self._client.request("POST", "/payments", event["body"], event["headers"])
            answer = self._client.getresponse()
            said = answer.read()
            if answer.status != 202:
                raise Broken(f"{SERVER} answered {answer.status}: {said!r}")

    def turn(self, bench: Bench, times: int) -> None:
        before = self._proc.cpu_s()
        self.warm(times)
        bench.row("accept", SERVER, "CPU per accepted payment", "ms", (self._proc.cpu_s() - before) / times * 1000)
        bench.row("accept", SERVER, "memory", "MiB", self._proc.rss_mib())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._proc.kill()


def _cold(bench: Bench, subjects: Sequence[Subject], g: Ground, folder: Path) -> None:
    """A process from its start to its first answer: CPU, and the clock, which on a busy machine says less. They take turns."""
    bench.say("cold starts")
    for n in range(bench.times(STARTS)):
        for subject in subjects:
            began = time.monotonic()
            with subject.function("api", folder) as api:
                _accept(api, subject, iter([f"{subject.name}-cold-{n}"]), 1)
                _started(bench, "cold start, API", subject, api, began)
        for subject in subjects:
            messages = g.received(subject.queue, 1)
            began = time.monotonic()
            with subject.function("worker", folder) as worker:
                worker.handle({"Records": messages})
                _started(bench, "cold start, worker", subject, worker, began)
            g.delete(subject.queue, messages)


def _started(bench: Bench, case: str, subject: Subject, function: Function, began: float) -> None:
    bench.row(case, subject.name, "time to the first answer", "ms", (time.monotonic() - began) * 1000)
    bench.row(case, subject.name, "CPU to the first answer", "ms", function.proc.cpu_s() * 1000)
    bench.row(case, subject.name, "memory", "MiB", function.proc.rss_mib())


def _check(bench: Bench, provider: Provider, g: Ground, subjects: Sequence[Subject]) -> None:
    """Everything that was handed out was charged, once. Raises Broken."""
    sums, times = provider.ledger(), PAYMENTS[bench.scale]
    expected = len(subjects) * (WARM[bench.scale] + bench.times(TURNS) * 2 * times + bench.times(STARTS))
    if (sums.charges, sums.twice) != (expected, {}):
        raise Broken(f"the provider has {sums.charges} charges instead of {expected}, twice {len(sums.twice)}")
    if left := g.visible(subjects[0].queue):
        raise Broken(f"{left} messages of payonce were not handed out")


def _counted(bench: Bench, g: Ground) -> None:
    """Calls and capacity units of one payment: payonce's as ``make aws-cost`` counts them, the starter's by its code and the
    sizes of what it wrote. The mapping's own requests are in neither."""
    used = asyncio.run(plain_payment("mock")).used
    writes, reads = units_of_starter(g)
    case = "a payment, accepted and settled"
    calls = {PAYONCE: sum(used.calls.values()), STARTER: STARTER_CALLS}
    for name, n in calls.items():
        bench.row(case, name, "calls to AWS", "calls", n)
    for name, units in ((PAYONCE, sum(used.writes.values())), (STARTER, writes)):
        bench.row(case, name, "write units", "units", units)
    for name, units in ((PAYONCE, sum(used.reads.values())), (STARTER, reads)):
        bench.row(case, name, "read units", "units", units)
