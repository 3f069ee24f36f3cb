"""The real template, deployed into the local emulator, beside a sandbox as a server of its own.

``deployed(folder)`` starts the emulator and the sandbox, packages, deploys ``deploy/aws/template.yaml`` and yields a ``Stack``:
addresses, names, clients, and the environment in which the command line works on it. All of it ends with the block, by pid.
`make aws-local` uses the same.

Notes on the emulator (ministack 1.5.33; read in its source or seen here in 2026-11), for who writes tests on this:

- **Where functions run.** Each execution environment is a process of the emulator's Python, a child in its process group, with
  the unpacked zip as working folder (``<folder>/ministack-lambda-<function>-*/code``). There is one such process for each event
  that is handled at the same time; the first of a function lives for ever, others end after 300 s of rest.
  ``Stack.executions(function)`` finds their pids.
- **Environment.** They inherit the environment of the emulator, then the function's own variables win. ``AWS_ENDPOINT_URL`` is
  set to the emulator if neither has it. Credentials are made up, one set for each role.
- **Policies count** here, because ``deployed`` starts the emulator with AUTH=true: a call that the function's role does not
  allow is refused, with index ARNs and the parts of transactions told apart. The key id of ``environment()`` is root's.
  It wants sqs:SendMessageBatch and the like, which are no rights on AWS (sqs:SendMessage allows both); ``deploy`` adds them.
- **Output.** What a function writes is in its log group when its event ends: ``Stack.logs(function)``. What SQS and schedules
  started is in ``<folder>/emulator.log`` too.
- **HTTP.** ``Stack.api`` is a path below the emulator; AWS's own form is a header ``Host: <id>.execute-api.<MINISTACK_HOST>``.
  An event takes 60 ms at least: the emulator waits 50 ms for a first line of log.
- **SQS mapping.** A thread polls at least once a second, and at once when something is sent; as many batches at once as
  MaximumConcurrency, else 5. It trips over numbers that come as parameters of a stack (they stay texts), so ``deploy`` sets
  them once more through UpdateEventSourceMapping. A batch whose function failed stays hidden for the visibility timeout of the
  queue, and the mapping pauses for 1 s. ReportBatchItemFailures works. Delays and redrive work.
- **Schedule.** A rule with rate(1 minute) fires first a minute after it was made. ``Stack.invoke(function)`` does not wait.
- **Timeout.** After the function's timeout the process gets SIGTERM, and SIGKILL 2 s later; its event failed. (AWS kills at
  once.) A handler that raises costs its process too, which is not so on AWS.
- **SIGKILL of an execution.** The event fails with "Worker process died": an SQS batch comes back after its visibility timeout
  (540 s here; meanwhile the schedule's sweep sends what is due, at the end of the lease), an HTTP request is answered 502. The
  next event starts a new process. Seen: killed in the call of tok_slow_5s, settled with one charge 65 s after the post.
- It knows no point-in-time recovery and no metric math. It keeps all state in memory; a stop loses it.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import botocore.session
from botocore.config import Config
from msgspec import Struct
from msgspec.structs import replace
from tools.aws_package import ROOT, build

from payonce.config import SETTINGS

from .emulator import REGION, emulator, environment
from .keys import bearer, issued_at

TEMPLATE: Final = ROOT / "deploy" / "aws" / "template.yaml"
CODE: Final = "CodeUri: ../../build/aws/payonce.zip"  # what `sam package` replaces, and so do we
PYTHON: Final = f"{sys.version_info[0]}.{sys.version_info[1]}"  # functions run under the emulator's own
NAME: Final = "payonce-local"
BUCKET: Final = "payonce-packages"
STACK_S: Final = 60.0
# For a stack that is tried out: it may be deleted, and few executions at once are enough.
TRIED_OUT: Final = {
    "Mode": "test",
    "IndexShards": "16",
    "DeletionProtection": "false",
    "WorkerConcurrency": "4",
    "DeliverConcurrency": "2",
    "WebhookAllowHosts": "127.0.0.1",
    "LogDays": "1",
}
SETTINGS_NAMES: Final = frozenset(name for s in SETTINGS for name in s.env)  # the starter's names are among them
HARMLESS: Final = frozenset({"PAYONCE_VENDOR_SPECS"})  # read by tests alone

T = TypeVar("T")


class Stack(Struct, frozen=True, kw_only=True):
    """What is deployed. ``outputs`` are those of the template, ``parameters`` what it was given, ``key`` an API key of the
    default merchant that may do everything."""

    emulator_url: str
    sandbox_url: str
    outputs: dict[str, str]
    parameters: dict[str, str]
    folder: Path
    key: str = ""

    @property
    def bearer(self) -> dict[str, str]:
        """The header that each request to the API needs."""
        return bearer(self.key)

    @property
    def api(self) -> str:
        """Where the HTTP API is, without a slash at the end."""
        return f"{self.emulator_url}/_aws/execute-api/{self.outputs['ApiId']}/$default"

    @property
    def env(self) -> dict[str, str]:
        """What makes the payonce command line work on this stack."""
        return {
            **environment(self.emulator_url),
            "PAYONCE_MODE": self.parameters["Mode"],
            "PAYONCE_INDEX_SHARDS": self.parameters["IndexShards"],
            "PAYONCE_TRANSACTIONS_TABLE": self.outputs["TransactionsTable"],
            "PAYONCE_IDEMPOTENCY_TABLE": self.outputs["IdempotencyTable"],
            "PAYONCE_REGISTRY_TABLE": self.outputs["RegistryTable"],
            "PAYONCE_QUEUE_URL": self.outputs["QueueUrl"],
            "PAYONCE_DEAD_LETTER_URL": self.outputs["DeadLetterUrl"],
            "PAYONCE_DELIVERIES_URL": self.outputs["DeliveriesUrl"],
            "PAYONCE_WEBHOOK_SIGNING_KEY": self.outputs["SigningKeyReference"],
            "PAYONCE_WEBHOOK_ALLOW_HOSTS": self.parameters.get("WebhookAllowHosts", ""),
            "PAYONCE_SANDBOX_URL": self.sandbox_url,
        }

    @property
    def log(self) -> str:
        """What the emulator has written so far."""
        return (self.folder / "emulator.log").read_text(errors="replace")

    def logs(self, function: str) -> list[str]:
        """The lines that ``ApiFunction``, ``WorkerFunction`` and so on wrote in events that have ended."""
        group = f"/payonce/{NAME}/{function.removesuffix('Function').lower()}"
        found: list[str] = []
        for page in self.client("logs").get_paginator("filter_log_events").paginate(logGroupName=group):
            found += [event["message"] for event in page["events"]]
        return found

    def client(self, service: str) -> Any:
        """A botocore client with all rights."""
        return client(service, self.emulator_url)

    def invoke(self, function: str, event: Mapping[str, Any] | None = None) -> Any:
        """Run ``ApiFunction``, ``WorkerFunction`` and so on with an event now; its answer. Raises RuntimeError when it
        failed."""
        payload = json.dumps(event or {}).encode()
        answer = self.client("lambda").invoke(FunctionName=self.outputs[function], Payload=payload)
        said = answer["Payload"].read()
        if "FunctionError" in answer:
            raise RuntimeError(f"{function} failed: {said[:2000]!r}")
        return json.loads(said)

    def mapping(self, function: str) -> str:
        """The id of what hands messages to ``WorkerFunction`` or ``DeliverFunction``."""
        return str(mappings(self.emulator_url)[self.outputs[function]]["UUID"])

    def executions(self, function: str) -> list[int]:
        """Pids of the processes that are execution environments of a function now (on Linux; empty elsewhere)."""
        mark = f"ministack-lambda-{self.outputs[function]}-"
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    command = (entry / "cmdline").read_bytes().decode(errors="replace")
                except OSError:
                    continue
                if mark in command and str(self.folder) in command:
                    found.append(int(entry.name))
        return found


def client(service: str, url: str) -> Any:
    """A botocore client of the emulator, with all rights."""
    session = botocore.session.Session()
    return session.create_client(
        service,
        region_name=REGION,
        endpoint_url=url,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, read_timeout=120),
    )


def leads_elsewhere(env: Mapping[str, str]) -> tuple[str, ...]:
    """Names in an environment that would make payonce or a client of AWS do something else than on a bare machine: settings
    under any of their names, what payonce would refuse as unknown, and everything of AWS (a profile, an endpoint of one
    service, a configuration file, credentials)."""
    ours = [n for n in env if n in SETTINGS_NAMES or n.startswith(("PAYONCE_", "AWS_"))]
    return tuple(sorted(set(ours) - HARMLESS))


@contextmanager
def bare_environment() -> Iterator[None]:
    """Without those names in this process and in what it starts; they are as they were afterwards."""
    kept = {name: os.environ.pop(name) for name in leads_elsewhere(os.environ)}
    try:
        yield
    finally:
        for name in leads_elsewhere(os.environ):
            del os.environ[name]
        os.environ.update(kept)


@contextmanager
def sandbox_server(folder: Path) -> Iterator[str]:
    """`payonce sandbox` on a free port with its ledger in ``folder``; the value is its URL."""
    log = folder / "sandbox.log"
    elsewhere = leads_elsewhere(os.environ)
    own = {k: v for k, v in os.environ.items() if k not in elsewhere}
    command = [sys.executable, "-m", "payonce", "sandbox", "--port", "0", "--json", "--ledger", str(folder / "ledger.db")]
    with log.open("wb") as err:
        process = subprocess.Popen(command, cwd=folder, env=own, stdout=subprocess.PIPE, stderr=err, start_new_session=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the sandbox did not start: {log.read_text(errors='replace')[-2000:]}")
        yield str(json.loads(line)["url"])
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


@contextmanager
def deployed(
    folder: Path,
    parameters: Mapping[str, str] | None = None,
    *,
    package: Path | None = None,
    auth: bool = True,
    prepare: Callable[[str, str], Mapping[str, str]] | None = None,
) -> Iterator[Stack]:
    """Everything, with files in ``folder``. ``parameters`` of the template, over those of ``TRIED_OUT``; ``package``: a zip
    that is built already; ``prepare``: called with the URLs of the emulator and the sandbox before the stack is made, returns
    further parameters. Settings and AWS names of the shell do not count, in this process neither until the block ends. Raises
    RuntimeError with the emulator's reasons when the stack does not come up."""
    zipped = package or build(folder / "payonce.zip", local=True, python=PYTHON)
    auth_mode = {"AUTH": "true" if auth else "false"}
    with bare_environment(), sandbox_server(folder) as sandbox_url, emulator(folder, auth_mode) as url:
        wanted = {
            **TRIED_OUT,
            "SandboxUrl": sandbox_url,
            **(parameters or {}),
            **(prepare(url, sandbox_url) if prepare else {}),
        }
        outputs = deploy(url, zipped, wanted)
        stack = Stack(emulator_url=url, sandbox_url=sandbox_url, outputs=outputs, parameters=wanted, folder=folder)
        send_webhooks(stack)
        yield replace(stack, key=issued_at(stack.env))


def deploy(url: str, zipped: Path, parameters: Mapping[str, str]) -> dict[str, str]:
    """Upload the package and create the stack, as `sam deploy` does; its outputs."""
    s3, formation = client("s3", url), client("cloudformation", url)
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key=zipped.name, Body=zipped.read_bytes())
    body = TEMPLATE.read_text(encoding="utf-8")
    assert body.count(CODE) == 1, "the template's CodeUri is not what is replaced here"
    formation.create_stack(
        StackName=NAME,
        TemplateBody=body.replace(CODE, f"CodeUri: s3://{BUCKET}/{zipped.name}"),
        Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()],
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    )

    def standing() -> dict[str, Any] | None:
        (stack,) = formation.describe_stacks(StackName=NAME)["Stacks"]
        return stack if not stack["StackStatus"].endswith("_IN_PROGRESS") else None

    stack = until(standing, STACK_S)
    if stack["StackStatus"] != "CREATE_COMPLETE":
        events = formation.describe_stack_events(StackName=NAME)["StackEvents"]
        why = [f"{e['LogicalResourceId']}: {e['ResourceStatusReason']}" for e in events if e.get("ResourceStatusReason")]
        raise RuntimeError(f"the stack is {stack['StackStatus']}: {why[:20]}")
    _set_numbers(url)
    _allow_batches(url)
    return {each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs", [])}


def _set_numbers(url: str) -> None:
    """The emulator keeps the numbers of the mappings as the texts that parameters are."""
    functions = client("lambda", url)
    for mapping in mappings(url).values():
        functions.update_event_source_mapping(
            UUID=mapping["UUID"],
            BatchSize=int(mapping["BatchSize"]),
            ScalingConfig={"MaximumConcurrency": int(mapping["ScalingConfig"]["MaximumConcurrency"])},
        )


def mappings(url: str) -> dict[str, dict[str, Any]]:
    """What hands messages to functions, by the name of the function."""
    found = client("lambda", url).list_event_source_mappings()["EventSourceMappings"]
    return {each["FunctionArn"].rpartition(":")[2]: each for each in found}


def _allow_batches(url: str) -> None:
    """On AWS whoever may send a message may send ten at once; the emulator wants a right of that name."""
    iam = client("iam", url)
    for role in iam.list_roles()["Roles"]:
        policies = iam.list_role_policies(RoleName=role["RoleName"])["PolicyNames"]
        for document in [iam.get_role_policy(RoleName=role["RoleName"], PolicyName=p)["PolicyDocument"] for p in policies]:
            granted = [s for s in document["Statement"] if "sqs:" in json.dumps(s["Action"])]
            if granted:
                actions = [[a] if isinstance(a, str) else a for a in (s["Action"] for s in granted)]
                batches = [{**s, "Action": [f"{a}Batch" for a in its]} for s, its in zip(granted, actions, strict=True)]
                iam.put_role_policy(
                    RoleName=role["RoleName"],
                    PolicyName="batches",
                    PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": batches}),
                )


def send_webhooks(stack: Stack) -> None:
    """Let the sandbox's vendors send their webhooks to the API, for the accounts of test mode."""
    accounts = {"mock": "mock", **{v: f"{v}_mock" for v in ("razorpay", "cashfree", "stripe", "payu")}}
    where = {vendor: [f"{stack.api}/webhooks/{account}"] for vendor, account in accounts.items()}
    asked = urllib.request.Request(f"{stack.sandbox_url}/sandbox/webhooks", json.dumps(where).encode(), method="PUT")
    with urllib.request.urlopen(asked, timeout=10) as answer:
        assert answer.status == 200


def until(look: Callable[[], T | None], seconds: float, every: float = 0.05) -> T:
    """What ``look`` finds, asked again and again. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while (found := look()) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s")
        time.sleep(every)
    return found
