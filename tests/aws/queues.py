"""Two real queues, as they are deployed: messages that are received too often move from one to the other."""

import json
from collections.abc import Mapping
from itertools import count
from typing import Any

from payonce.awsapi import Aws, Done

RECEIVES_MAX = 2
names = count()


class Queues:
    """A main queue whose messages move to ``dead`` after RECEIVES_MAX receives, both empty and for one test."""

    def __init__(self, aws: Aws, main: str, dead: str) -> None:
        self.aws, self.main, self.dead = aws, main, dead

    async def do(self, operation: str, url: str = "", **params: Any) -> dict[str, Any]:
        answer = await self.aws.call("sqs", operation, {"QueueUrl": url or self.main, **params})
        assert isinstance(answer, Done), answer
        return answer.body

    async def take(self, url: str, *, hidden_s: int = 60) -> list[dict[str, Any]]:
        """All that can be received now."""
        found = list[dict[str, Any]]()
        while more := (await self.do("ReceiveMessage", url, MaxNumberOfMessages=10, VisibilityTimeout=hidden_s)).get(
            "Messages"
        ):
            found += more
        return found

    async def bodies(self, url: str) -> list[str]:
        return sorted(each["Body"] for each in await self.take(url))

    async def die(self, *bodies: str) -> None:
        """Send them and fail with them until the redrive policy has moved them all."""
        for body in bodies:
            await self.do("SendMessage", MessageBody=body)
        for _ in range(RECEIVES_MAX):
            taken = await self.take(self.main)
            assert sorted(each["Body"] for each in taken) == sorted(bodies)
            for each in taken:
                await self.do("ChangeMessageVisibility", ReceiptHandle=each["ReceiptHandle"], VisibilityTimeout=0)
        assert await self.take(self.main) == []  # this receive moves them


async def two_queues(aws: Aws) -> Queues:
    """New ones, of nobody else."""

    async def make(name: str, attributes: Mapping[str, str]) -> str:
        answer = await aws.call("sqs", "CreateQueue", {"QueueName": name, "Attributes": attributes})
        assert isinstance(answer, Done), answer
        return str(answer.body["QueueUrl"])

    number = next(names)
    dead = await make(f"dead-{number}", {})
    asked = await aws.call("sqs", "GetQueueAttributes", {"QueueUrl": dead, "AttributeNames": ["QueueArn"]})
    assert isinstance(asked, Done), asked
    arn = asked.body["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": RECEIVES_MAX})
    return Queues(aws, await make(f"main-{number}", {"RedrivePolicy": policy}), dead)
