"""Every mutant by name, and what is known of those that random worlds do not kill."""

from collections.abc import Mapping
from typing import Final

from .mutants_adapters import ADAPTERS
from .mutants_afterwards import AFTERWARDS
from .mutants_cloud import CLOUD
from .mutants_core import CORE
from .mutants_shell import SHELL
from .mutants_told import TOLD
from .mutation import Mutant

_ALL: Final = (*CORE, *SHELL, *ADAPTERS, *AFTERWARDS, *CLOUD, *TOLD)
MUTANTS: Final[Mapping[str, Mutant]] = {mutant.name: mutant for mutant in _ALL}
assert len(MUTANTS) == len(_ALL), "two mutants of one name"
# One of each room and kind, killed by worlds that take little time: what the short test runs.
SHORT: Final = (
    "failover_on_unknown",
    "a_miss_is_no",
    "closed_not_read_again",
    "amount_not_compared",
    "lost_answer_is_not_sent",
    "new_key_per_retry",
    "no_fence",
    "acknowledged_before_commit",
    "due_time_not_written",
    "conflict_is_acknowledged",
    "memory_key_not_unique",
    "sqlite_due_not_written",
    "dynamo_lost_is_conflict",
    "capture_and_void_together",
    "operation_without_its_key",
    "webhook_signature_not_checked",
)
