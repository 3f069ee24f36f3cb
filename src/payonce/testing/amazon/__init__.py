"""A model of the parts of DynamoDB and SQS that payonce uses: in memory, deterministic, on the given clock, and with a bill.

    aws = ModelAws(clock)
    await aws.call("dynamodb", "CreateTable", {...})
    aws.bill.write_units("Transactions")     # capacity units, by the published rules

It is compared with the local emulator by ``tests/aws/test_model.py``. ``weather`` is what AWS may do and usually does not: late
indexes, older answers, unanswered keys, doubled and reordered messages.
"""

from collections.abc import Mapping
from typing import Any

from payonce.awsapi import Answer, Denied, Done, Service
from payonce.ports import Clock

from .bill import Bill, Place
from .dynamodb import DynamoDb
from .sqs import Sqs
from .tables import Table
from .transactions import Transactions
from .values import Item, Refused, item_size
from .weather import Weather

__all__ = ["Bill", "Item", "ModelAws", "Place", "Table", "Weather", "item_size"]


class ModelAws:
    """See ``payonce.awsapi.Aws`` and the module docstring. Only its own calls change it, each at once and whole; it is never
    busy and loses nothing."""

    def __init__(self, clock: Clock, weather: Weather | None = None) -> None:
        self.bill, self.weather = Bill(), weather or Weather()
        self.dynamodb = DynamoDb(clock, self.bill, self.weather)
        self.transactions = Transactions(self.dynamodb)
        self.sqs = Sqs(clock, self.bill, self.weather)

    async def call(self, service: Service, operation: str, params: Mapping[str, Any]) -> Answer:
        self.bill.calls[service, operation] += 1
        if service == "dynamodb":
            return self.table_call(operation, params)
        try:
            if service != "sqs":
                raise Refused("UnknownOperationException", f"the model does not know {service}")
            return Done(await self.sqs.call(operation, params))
        except (Refused, KeyError) as error:
            return _denied(operation, error)

    def table_call(self, operation: str, params: Mapping[str, Any]) -> Answer:
        """A call to DynamoDB, which is over at once; not counted."""
        try:
            if operation == "TransactWriteItems":
                return Done(self.transactions.write(params))
            if operation == "TransactGetItems":
                return Done(self.transactions.read(params))
            return Done(self.dynamodb.call(operation, params))
        except (Refused, KeyError) as error:
            return _denied(operation, error)

    async def close(self) -> None: ...


def _denied(operation: str, error: Refused | KeyError) -> Denied:
    if isinstance(error, KeyError):
        return Denied("ValidationException", f"the required parameter {error} of {operation} is missing")
    told = {"Error": {"Code": error.code, "Message": error.message}}
    return Denied(error.code, error.message, {**told, **error.body})
