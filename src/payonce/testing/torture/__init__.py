"""Real crashes: the real processes over real HTTP and a real file with fsync, a proxy that spoils what goes to the vendors,
webhooks that come badly, and ``kill -9`` at any moment; at the end everything is compared with the vendors' books.

``torture(options)`` runs it; ``payonce torture`` is its command line.
"""

from .options import FAULTS, KINDS, WRONGS, TortureOptions, TortureReport, Violation
from .run import torture

__all__ = ["FAULTS", "KINDS", "WRONGS", "TortureOptions", "TortureReport", "Violation", "torture"]
