"""deploy/aws/template.yaml: what it promises to whoever deploys it. It is deployed in test_deployed.py."""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import cfnlint.api  # type: ignore[import-untyped]
import pytest
import yaml  # type: ignore[import-untyped]
from msgspec import Struct
from samtranslator.translator.transform import transform  # type: ignore[import-untyped]

from payonce.aws.deliver import MARGIN_MS as DELIVER_MARGIN_MS
from payonce.aws.sweeper import METRICS, NAMESPACE
from payonce.config import SETTINGS
from payonce.outbound.courier import LEASE_MARGIN_MS
from payonce.stores.dynamodb import CREATE
from payonce.stores.dynamodb.tables import DUE_INDEX, LIST_INDEX, NOTICES_INDEX

from .stack import CODE, TEMPLATE

TEXT = TEMPLATE.read_text(encoding="utf-8")
FUNCTIONS = ("ApiFunction", "WorkerFunction", "DeliverFunction", "SweeperFunction")
SIGNING = "PAYONCE_WEBHOOK_SIGNING_KEY"
TABLES = {"transactions": "TransactionsTable", "idempotency": "IdempotencyTable", "registry": "RegistryTable"}


class Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML with CloudFormation's short forms, in their long form."""


def _long(loader: Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        return {name: value.split(".") if suffix == "GetAtt" else value}
    value = (
        loader.construct_sequence(node, deep=True) if isinstance(node, yaml.SequenceNode) else loader.construct_mapping(node)
    )
    return {name: value}


Loader.add_multi_constructor("!", _long)


@cache
def template() -> dict[str, Any]:
    """As written."""
    read: dict[str, Any] = yaml.load(TEXT, Loader)  # noqa: S506  a SafeLoader with tags of its own
    return read


@cache
def resources() -> dict[str, Any]:
    """As CloudFormation gets them, transformed by AWS's own translator."""
    packaged: dict[str, Any] = yaml.load(TEXT.replace(CODE, "CodeUri: s3://bucket/key"), Loader)  # noqa: S506  as above
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")  # the translator asks for it
        made: dict[str, Any] = transform(packaged, {}, _NoPolicies())
    found: dict[str, Any] = made["Resources"]
    return found


class _NoPolicies:
    """No managed policy is used, so none has to be looked up."""

    def load(self) -> dict[str, str]:
        return {}


def of_type(kind: str) -> dict[str, Any]:
    return {name: r["Properties"] for name, r in resources().items() if r["Type"] == kind}


def statements(properties: Any) -> Iterator[dict[str, Any]]:
    for policy in properties.get("Policies", [properties]):
        yield from policy["PolicyDocument"]["Statement"]


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_cfn_lint_has_nothing_to_say() -> None:
    """No error and no warning, and no rule is switched off."""
    assert [str(each) for each in cfnlint.api.lint_file(TEMPLATE)] == []
    assert "cfn-lint" not in TEXT


def test_it_is_yaml_that_cloudformation_reads() -> None:
    """No anchors, aliases or merges: the service itself does not read them, only some tools do. And it fits into one call."""
    assert [t for t in yaml.scan(TEXT) if isinstance(t, yaml.AnchorToken | yaml.AliasToken)] == []
    assert "<<:" not in TEXT
    assert len(TEXT.encode()) < 51_200


def test_aws_translates_it() -> None:
    """The SAM translator makes plain resources of it: four functions for arm64, two mappings, a rule."""
    functions = of_type("AWS::Lambda::Function")
    assert set(functions) == set(FUNCTIONS)
    assert {f["Handler"] for f in functions.values()} == {
        f"payonce.aws.{name}.handler" for name in ("api", "worker", "deliver", "sweeper")
    }
    assert all(
        f["Architectures"] == ["arm64"] and f["Code"] == {"S3Bucket": "bucket", "S3Key": "key"} for f in functions.values()
    )
    (rule,) = of_type("AWS::Events::Rule").values()
    assert rule["ScheduleExpression"] == "rate(1 minute)"
    mappings = {m["FunctionName"]["Ref"]: m for m in of_type("AWS::Lambda::EventSourceMapping").values()}
    assert set(mappings) == {"WorkerFunction", "DeliverFunction"}
    for name, queue in (("Worker", "DueQueue"), ("Deliver", "DeliveriesQueue")):
        mapping = mappings[f"{name}Function"]
        assert mapping["EventSourceArn"] == {"Fn::GetAtt": [queue, "Arn"]}
        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
        assert mapping["ScalingConfig"] == {"MaximumConcurrency": {"Ref": f"{name}Concurrency"}}


@pytest.mark.parametrize("role", TABLES)
def test_the_tables_are_those_of_the_code(role: Any) -> None:
    """Keys, types, indexes and projections are exactly those of stores/dynamodb/tables.py; and each table is backed up,
    encrypted, protected, and stays when the stack goes."""
    resource = resources()[TABLES[role]]
    properties = dict(resource["Properties"])
    assert properties.pop("PointInTimeRecoverySpecification") == {"PointInTimeRecoveryEnabled": True}
    assert properties.pop("SSESpecification") == {"SSEEnabled": True}
    assert properties.pop("DeletionProtectionEnabled") == {"Fn::If": ["IsProtected", True, False]}
    assert properties == dict(CREATE[role])
    assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
    assert template()["Parameters"]["DeletionProtection"]["Default"] == "true"


def test_messages_stay_hidden_long_enough() -> None:
    """Visibility is six times the worker's timeout for each timeout that may be chosen, and the timeout is longer than the
    longest call of the built-in accounts."""
    chosen = template()["Parameters"]["WorkerTimeout"]
    times = {int(t): row["Visibility"] for t, row in template()["Mappings"]["WorkerTimes"].items()}
    assert times == {int(t): 6 * int(t) for t in chosen["AllowedValues"]}
    queue = of_type("AWS::SQS::Queue")["DueQueue"]
    assert queue["VisibilityTimeout"] == {"Fn::FindInMap": ["WorkerTimes", {"Ref": "WorkerTimeout"}, "Visibility"]}
    assert queue["RedrivePolicy"]["maxReceiveCount"] >= 5  # Lambda's advice: a throttled mapping receives in vain
    assert of_type("AWS::Lambda::Function")["WorkerFunction"]["Timeout"] == {"Ref": "WorkerTimeout"}
    deliveries = of_type("AWS::SQS::Queue")["DeliveriesQueue"]
    told_s = of_type("AWS::Lambda::Function")["DeliverFunction"]["Timeout"]
    assert deliveries["VisibilityTimeout"] == 6 * told_s
    assert deliveries["RedrivePolicy"]["maxReceiveCount"] >= 5
    most_ms = next(s.high for s in SETTINGS if s.key == "webhooks.timeout_ms") + LEASE_MARGIN_MS
    assert most_ms + DELIVER_MARGIN_MS < told_s * 1000, "the longest call that may be chosen fits"


def test_the_worker_lives_longer_than_the_longest_call() -> None:
    """With every built-in adapter as its provider states it, the default timeout leaves room for the longest call."""
    from payonce.adapter import READS_MAX
    from payonce.aws.worker import MARGIN_MS
    from payonce.engine import LEASE_MARGIN_MS, SEND_WINDOW_MS
    from payonce.providers import load_adapters

    longest = max(
        (c.read_requests or (READS_MAX if c.terms.container else 1)) * c.terms.call_timeout_ms
        for c in (adapter.CAPABILITIES for adapter in load_adapters().values())
    )
    timeout_ms = int(template()["Parameters"]["WorkerTimeout"]["Default"]) * 1000
    assert SEND_WINDOW_MS + LEASE_MARGIN_MS + longest == 67_000, "the parameter's description says 67 s"
    assert SEND_WINDOW_MS + LEASE_MARGIN_MS + longest + MARGIN_MS < timeout_ms


def test_only_its_own_queues_may_use_the_dead_letters() -> None:
    """The redrive allow policy names the two queues, which bear the names that they are given there."""
    queues = of_type("AWS::SQS::Queue")
    sources = [each["Fn::Sub"] for each in queues["DeadLetterQueue"]["RedriveAllowPolicy"]["sourceQueueArns"]]
    assert [each.split(":${AWS::StackName}")[1] for each in sources] == ["-due", "-deliveries"]
    assert queues["DueQueue"]["QueueName"] == {"Fn::Sub": "${AWS::StackName}-due"}
    assert queues["DeliveriesQueue"]["QueueName"] == {"Fn::Sub": "${AWS::StackName}-deliveries"}
    assert all(q["SqsManagedSseEnabled"] for q in queues.values())


# --- rights; test_rights.py has what the code asks for ---------------------------------------------------------------------


class Right(Struct, frozen=True, order=True):
    action: str
    at: str


def resource_name(arn: Any) -> str:
    """``TransactionsTable/index/due`` of what CloudFormation makes an ARN of."""
    if "Fn::GetAtt" in arn:
        name, attribute = arn["Fn::GetAtt"]
        assert attribute == "Arn"
        return str(name)
    match = re.fullmatch(r"\$\{(\w+)\.Arn\}(/index/\w+)", arn["Fn::Sub"])
    assert match, arn
    return match[1] + match[2]


def rights(role: str) -> list[Right]:
    found = []
    for statement in statements(of_type("AWS::IAM::Role")[role]):
        assert statement["Effect"] == "Allow"
        assert set(statement) == {"Effect", "Action", "Resource"}
        found += [Right(a, resource_name(r)) for a in listed(statement["Action"]) for r in listed(statement["Resource"])]
    return sorted(found)


def test_no_policy_is_for_everything() -> None:
    """No action and no resource is a wildcard, but for X-Ray, whose actions know no resources and which is off by default."""
    wild = []
    for name, properties in {**of_type("AWS::IAM::Role"), **of_type("AWS::IAM::Policy")}.items():
        for statement in statements(properties):
            assert "NotAction" not in statement
            assert "NotResource" not in statement
            assert "*" not in json.dumps(statement["Action"])
            if "*" in json.dumps(statement["Resource"]):
                wild.append(name)
    assert wild == ["TracingPolicy"]
    assert resources()["TracingPolicy"]["Condition"] == "IsTraced"
    assert template()["Parameters"]["Tracing"]["Default"] != "Active"
    assert "ManagedPolicyArns" not in json.dumps(of_type("AWS::IAM::Role"))


def test_secrets_are_named_one_by_one() -> None:
    """Only the secrets, parameters and keys whose ARNs are given can be read; none by default."""
    policies = {n: next(statements(p)) for n, p in of_type("AWS::IAM::Policy").items() if n.startswith("Secret")}
    assert {(s["Action"], s["Resource"]["Ref"]) for s in policies.values()} == {
        ("secretsmanager:GetSecretValue", "SecretArns"),
        ("ssm:GetParameter", "SecretParameterArns"),
        ("kms:Decrypt", "SecretKeyArns"),
    }
    assert all(template()["Parameters"][s["Resource"]["Ref"]]["Default"] == "" for s in policies.values())
    assert all("Condition" in resources()[name] for name in policies)
    for name, function in of_type("AWS::Lambda::Function").items():
        assert not [v for v in function["Environment"]["Variables"] if ("SECRET" in v or "KEY" in v) and v != SIGNING], name


def test_only_who_needs_the_signing_key_may_read_it() -> None:
    """A key of 64 random characters is made, unless one is named, and stays; the API and who delivers get a reference to it,
    and the right to read that one secret."""
    where = {"Fn::If": ["MakesSigningKey", {"Fn::GetAtt": ["SigningKey", "Id"]}, {"Ref": "SigningSecretArn"}]}
    for name, function in of_type("AWS::Lambda::Function").items():
        reference = {"Fn::Join": [":", ["aws-secret", where]]} if name in ("ApiFunction", "DeliverFunction") else None
        assert function["Environment"]["Variables"].get(SIGNING) == reference, name
    policy = of_type("AWS::IAM::Policy")["SigningPolicy"]
    assert policy["Roles"] == [{"Ref": "ApiRole"}, {"Ref": "DeliverRole"}]
    assert list(statements(policy)) == [{"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": where}]
    key = resources()["SigningKey"]
    assert key["Properties"]["GenerateSecretString"] == {"PasswordLength": 64, "ExcludePunctuation": True}
    assert (key["DeletionPolicy"], key["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")


def test_who_delivers_is_in_no_vpc() -> None:
    """So it reaches merchants over the internet, and nothing that is private to the account."""
    assert not [name for name, f in of_type("AWS::Lambda::Function").items() if "VpcConfig" in f]


# --- what is set, watched and kept ----------------------------------------------------------------------------------------


def test_every_variable_is_a_setting() -> None:
    """The functions get no variable that payonce would refuse to start with, and the same in all, but for the signing key."""
    known = {"PAYONCE_CONFIG", *(env for s in SETTINGS for env in s.env)}
    sets = [f["Environment"]["Variables"] for f in of_type("AWS::Lambda::Function").values()]
    assert len({json.dumps({n: v for n, v in each.items() if n != SIGNING}, sort_keys=True) for each in sets}) == 1
    assert {name for each in sets for name in each} <= known


def test_the_api_is_throttled_and_logged() -> None:
    """One route for everything, with limits, an access log without bodies and queries, a permission for this API only."""
    (stage,) = of_type("AWS::ApiGatewayV2::Stage").values()
    assert stage["DefaultRouteSettings"] == {
        "ThrottlingRateLimit": {"Ref": "ThrottleRate"},
        "ThrottlingBurstLimit": {"Ref": "ThrottleBurst"},
    }
    logged = json.loads(stage["AccessLogSettings"]["Format"])
    assert {"requestId", "status", "latencyMs", "path"} <= set(logged)
    assert not [v for v in logged.values() if "query" in v.lower() or "body" in v.lower() or "header" in v.lower()]
    (route,) = of_type("AWS::ApiGatewayV2::Route").values()
    assert route["RouteKey"] == "$default"
    (integration,) = of_type("AWS::ApiGatewayV2::Integration").values()
    assert integration["PayloadFormatVersion"] == "2.0"
    assert of_type("AWS::Lambda::Function")["ApiFunction"]["Timeout"] * 1000 < integration["TimeoutInMillis"]
    permission = of_type("AWS::Lambda::Permission")["HttpPermission"]
    assert permission["SourceArn"]["Fn::Sub"].endswith(":${HttpApi}/*/$default")


def test_every_log_has_an_end() -> None:
    """Each function writes into a log group of this stack, and each group forgets after LogDays."""
    groups = of_type("AWS::Logs::LogGroup")
    assert all(g["RetentionInDays"] == {"Ref": "LogDays"} for g in groups.values())
    written = {f["LoggingConfig"]["LogGroup"]["Ref"] for f in of_type("AWS::Lambda::Function").values()}
    assert written | {"AccessLogs"} == set(groups)


def test_what_goes_wrong_is_alarmed_on() -> None:
    """There is an alarm on each thing that people must know, on a metric that exists; each says what to do, and goes to the
    topic if there is one."""
    alarms = of_type("AWS::CloudWatch::Alarm")
    ours = {a["MetricName"] for a in alarms.values() if a["Namespace"] == NAMESPACE}
    assert ours == {"OldestDueSeconds", "OldestUntoldSeconds", "NeedEyes"} <= set(METRICS)
    others = {
        (a["Namespace"], a["MetricName"], d["Value"] if isinstance(d["Value"], str) else d["Value"].get("Ref", ""))
        for a in alarms.values()
        for d in a["Dimensions"]
    }
    for function in FUNCTIONS:
        assert ("AWS/Lambda", "Errors", function) in others
    assert {("AWS/Lambda", "Throttles", f) for f in FUNCTIONS[:3]} <= others
    assert {("AWS/DynamoDB", f"{rw}ThrottleEvents", "TransactionsTable") for rw in ("Read", "Write")} <= others
    assert {("AWS/DynamoDB", "WriteThrottleEvents", index) for index in (DUE_INDEX, LIST_INDEX, NOTICES_INDEX)} <= others
    assert any(a["MetricName"] == "ApproximateNumberOfMessagesVisible" for a in alarms.values())
    for name, alarm in alarms.items():
        assert len(alarm["AlarmDescription"]) > 60, name
        assert alarm["AlarmActions"] == {"Fn::If": ["HasAlarmTopic", [{"Ref": "AlarmTopicArn"}], {"Ref": "AWS::NoValue"}]}, name
    assert alarms["OldestDueAlarm"]["TreatMissingData"] == "breaching"  # the sweeper is dead
