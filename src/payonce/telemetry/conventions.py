"""The words of OpenTelemetry that spans use: semantic conventions 1.44 (opentelemetry.io/docs/specs/semconv, and the package
opentelemetry-semantic-conventions 0.66b2, read 2026-11). Those of HTTP and databases are stable there; those of messaging are
"Development" and may change: this file is the one place where they stand. Ours begin with ``payonce.``."""

from typing import Final

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"  # no address that anything is sent to

METHOD: Final = "http.request.method"
STATUS: Final = "http.response.status_code"
ROUTE: Final = "http.route"
SCHEME: Final = "url.scheme"
URL: Final = "url.full"
SERVER: Final = "server.address"
PORT: Final = "server.port"
ERROR: Final = "error.type"

DB_SYSTEM: Final = "db.system.name"
DB_OPERATION: Final = "db.operation.name"
DB_COLLECTION: Final = "db.collection.name"
DB_SUMMARY: Final = "db.query.summary"

# Development in 1.44.
QUEUE_SYSTEM: Final = "messaging.system"
QUEUE_DESTINATION: Final = "messaging.destination.name"
QUEUE_OPERATION: Final = "messaging.operation.name"
QUEUE_OPERATION_TYPE: Final = "messaging.operation.type"
QUEUE_MESSAGE: Final = "messaging.message.id"

PAYMENT: Final = "payonce.payment.id"
PROVIDER: Final = "payonce.provider"
STEP: Final = "payonce.step"
REQUEST: Final = "payonce.request.id"
