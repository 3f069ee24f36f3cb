"""What AWS asks for, as data: list prices in US dollars, without free tiers, each with where it was read and when.

The price pages of AWS fill in their figures by script, so a stored copy shows the rules and not the numbers. The numbers of
us-east-1 are those of notes that quote the pages with a date, at least two of them for each; those of ap-south-1 are quoted
from the AWS Price List API of 2026-09-17 and 18. ``None`` was not found: the price of us-east-1 stands in for it, marked.
"""

from typing import Final

from msgspec import Struct

SEEN: Final = "2026-11-26"
MILLION: Final = 1_000_000
REGIONS: Final = ("us-east-1", "ap-south-1")


class Price(Struct, frozen=True, kw_only=True):
    """``east`` and ``south``: US dollars for one ``per``, in us-east-1 and ap-south-1."""

    what: str
    per: str
    east: float
    south: float | None
    where: str  # the page of AWS that states it, or its rule

    def usd(self, region: str = "us-east-1") -> float:
        """In a region; that of us-east-1 where the other is not known."""
        return self.east if region == "us-east-1" or self.south is None else self.south


WRITE: Final = Price(
    what="DynamoDB, write request unit on demand",
    per="million",
    east=0.625,
    south=0.71,
    where="aws.amazon.com/dynamodb/pricing/on-demand; halved on 2024-11-01",
)
READ: Final = Price(
    what="DynamoDB, read request unit on demand",
    per="million",
    east=0.125,
    south=0.1425,
    where="aws.amazon.com/dynamodb/pricing/on-demand; halved on 2024-11-01",
)
STORED: Final = Price(
    what="DynamoDB, storage, indexes too",
    per="GB and month",
    east=0.25,
    south=0.285,
    where="aws.amazon.com/dynamodb/pricing/on-demand; the first 25 GB are free",
)
RECOVERY: Final = Price(
    what="DynamoDB, point-in-time recovery",
    per="GB and month",
    east=0.20,
    south=None,
    where="aws.amazon.com/dynamodb/pricing/on-demand",
)
HTTP: Final = Price(
    what="API Gateway, request to an HTTP API (512 KB of it)",
    per="million",
    east=1.00,
    south=1.05,
    where="aws.amazon.com/api-gateway/pricing; cheaper above 300 million a month",
)
INVOCATION: Final = Price(
    what="Lambda, invocation",
    per="million",
    east=0.20,
    south=0.20,
    where="aws.amazon.com/lambda/pricing; a million a month is free",
)
COMPUTE: Final = Price(
    what="Lambda on arm64, GB-second; the start of an environment too, since 2025-08-01",
    per="million",
    east=13.3334,
    south=13.3334,
    where="aws.amazon.com/lambda/pricing; 400,000 GB-seconds a month are free",
)
QUEUE: Final = Price(
    what="SQS, request to a standard queue (64 KB of it)",
    per="million",
    east=0.40,
    south=None,
    where="aws.amazon.com/sqs/pricing; a million a month is free",
)
SCHEDULE: Final = Price(
    what="EventBridge Scheduler, invocation",
    per="million",
    east=1.00,
    south=None,
    where="aws.amazon.com/eventbridge/pricing; 14 million a month are free; the rule that is used here names no price",
)
LOGS: Final = Price(
    what="CloudWatch, logs taken in",
    per="GB",
    east=0.50,
    south=0.67,
    where="aws.amazon.com/cloudwatch/pricing; 5 GB a month are free",
)
METRIC: Final = Price(
    what="CloudWatch, custom metric",
    per="month",
    east=0.30,
    south=None,
    where="aws.amazon.com/cloudwatch/pricing; ten are free",
)
ALARM: Final = Price(
    what="CloudWatch, alarm on one metric",
    per="month",
    east=0.10,
    south=None,
    where="aws.amazon.com/cloudwatch/pricing; ten are free",
)
SECRET: Final = Price(
    what="Secrets Manager, secret",
    per="month",
    east=0.40,
    south=None,
    where="aws.amazon.com/secrets-manager/pricing; and 0.05 for 10,000 calls",
)
TRACE: Final = Price(
    what="X-Ray, trace recorded (only when it is switched on)",
    per="million",
    east=5.00,
    south=None,
    where="aws.amazon.com/xray/pricing; 100,000 a month are free",
)
SENT_OUT: Final = Price(
    what="data sent to the internet",
    per="GB",
    east=0.09,
    south=0.1093,
    where="aws.amazon.com/ec2/pricing/on-demand; 100 GB a month are free",
)
PRICES: Final = (
    WRITE, READ, STORED, RECOVERY, HTTP, INVOCATION, COMPUTE, QUEUE, SCHEDULE, LOGS, METRIC, ALARM, SECRET, TRACE, SENT_OUT,
)  # fmt: skip


def prices_table() -> list[str]:
    """The table of the page."""
    lines = ["| what | for one | us-east-1 | ap-south-1 | stated by |", "| --- | --- | --- | --- | --- |"]
    for p in PRICES:
        south = "not found" if p.south is None else f"${p.south:g}"
        lines.append(f"| {p.what} | {p.per} | ${p.east:g} | {south} | {p.where} |")
    return lines
