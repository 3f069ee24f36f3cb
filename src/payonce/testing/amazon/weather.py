"""What AWS may do and usually does not: the model asks here. All calm unless somebody overrides it."""


class Weather:
    """Overridden by tests and by the simulator."""

    def lag_us(self) -> int:
        """How long after a write an index shows it. AWS promises nothing; usually it is below a second."""
        return 0

    def stale(self) -> bool:
        """Whether a read that need not be consistent answers with the item before the newest."""
        return False

    def unprocessed(self, count: int) -> int:
        """How many of the ``count`` keys of a batch are not answered this time; 0 to count."""
        return 0 * count

    def doubled(self) -> bool:
        """Whether SQS hands a message to one more receiver while it should be invisible."""
        return False

    def order(self, count: int) -> list[int]:
        """In which order SQS hands out so many messages that are ready; indexes into the order they came in."""
        return list(range(count))
