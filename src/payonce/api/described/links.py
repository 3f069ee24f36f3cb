"""Where an answer leads: the links of the OpenAPI document, so that programs that read it know which ids go where."""

from typing import Any, Final

Document = dict[str, Any]

_SAID: Final = "$response.body#"
_OF_PAYMENT: Final = (
    *("getPayment", "getPaymentHistory", "capturePayment", "voidPayment", "refundPayment", "listRefunds"),
    *("listOperations", "getPaymentStory", "checkPayment", "resolvePayment"),
)
_OF_ENDPOINT: Final = (
    *("getWebhookEndpoint", "changeWebhookEndpoint", "rotateWebhookSecret", "enableWebhookEndpoint", "disableWebhookEndpoint"),
    *("testWebhookEndpoint", "recoverWebhookEndpoint", "listWebhookDeliveries", "removeWebhookEndpoint"),
)
_OF_DELIVERY: Final = ("getWebhookDelivery", "replayWebhookDelivery")
_OF_WEBHOOK: Final = ("getInboxWebhook", "replayInboxWebhook")
_OF_ACCOUNT: Final = ("getProvider", "drainProvider", "resumeProvider")

Led = tuple[tuple[str, ...], dict[str, str]]  # operations, and where their parameters stand in the answer


def _ids(operations: tuple[str, ...], where: str) -> Led:
    return operations, {"id": f"{_SAID}{where}"}


_OPERATION: Final[Led] = ("getOperation",), {"id": f"{_SAID}/transactionId", "operationId": f"{_SAID}/operationId"}
_OF_REFUND: Final = (_OPERATION, _ids(("getPayment", "getPaymentHistory", "listOperations"), "/transactionId"))

# operationId and status -> what its answer leads to
LINKS: Final[dict[tuple[str, str], tuple[Led, ...]]] = {
    ("createPayment", "202"): (_ids(_OF_PAYMENT, "/transactionId"),),
    ("listPayments", "200"): (_ids(_OF_PAYMENT[:2], "/data/0/transactionId"),),
    ("capturePayment", "202"): _OF_REFUND,
    ("voidPayment", "202"): _OF_REFUND,
    ("refundPayment", "202"): (*_OF_REFUND, _ids(("listRefunds",), "/transactionId")),
    ("listProviders", "200"): ((_OF_ACCOUNT, {"account": f"{_SAID}/data/0/account"}),),
    ("listInbox", "200"): (_ids(_OF_WEBHOOK, "/data/0/id"),),
    ("listEvents", "200"): (
        _ids(("getEvent",), "/data/0/id"),
        _ids(("getPaymentHistory",), "/data/0/data/payment/transactionId"),
    ),
    ("createWebhookEndpoint", "200"): (_ids(_OF_ENDPOINT, "/id"),),
    ("createWebhookEndpoint", "201"): (_ids(_OF_ENDPOINT, "/id"),),
    ("listWebhookEndpoints", "200"): (_ids(_OF_ENDPOINT[:1], "/data/0/id"),),
    ("testWebhookEndpoint", "202"): (_ids(_OF_DELIVERY, "/id"), _ids(("listWebhookDeliveries",), "/endpointId")),
    ("listWebhookDeliveries", "200"): (_ids(_OF_DELIVERY, "/data/0/id"),),
    ("replayWebhookDelivery", "202"): (_ids(_OF_DELIVERY[:1], "/id"),),
}


def linked(operation: Document) -> Document:
    """The operation with the links of its answers. The operation that is given stays as it is."""
    responses = {
        status: response | ({"links": _links(led)} if (led := LINKS.get((operation["operationId"], status))) else {})
        for status, response in operation["responses"].items()
    }
    return operation | {"responses": responses}


def _links(led: tuple[Led, ...]) -> Document:
    return {name: {"operationId": name, "parameters": parameters} for operations, parameters in led for name in operations}
