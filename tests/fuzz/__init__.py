"""Fuzz targets: one for each parser of bytes from outside. A target takes any bytes, and fails when what must hold for all of
them does not. `make test` tries a bounded number; ``python -m tests.fuzz TARGET --minutes 10`` goes on for as long as it is
told, keeps what fails, and tries that first the next time.
"""

from .aws import TARGETS as AWS
from .doors import TARGETS as DOORS
from .outbound import TARGETS as OUTBOUND
from .providers import TARGETS as PROVIDERS
from .rows import TARGETS as ROWS
from .target import Target
from .wire import TARGETS as WIRE

TARGETS: dict[str, Target] = {t.name: t for t in (*PROVIDERS, *DOORS, *ROWS, *AWS, *OUTBOUND, *WIRE)}
