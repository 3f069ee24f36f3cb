"""Latencies counted in buckets of a thousandth of their value: as many as one likes in 200 KiB."""

from typing import Final

FINE: Final = 10  # bits: below 2 ** 11 microseconds each has its own bucket, above a bucket is 0.1 % wide
TOP_US: Final = 1 << 30  # some 18 minutes; what takes longer counts as that long


class Histogram:
    """Microseconds in, percentiles in milliseconds out."""

    def __init__(self) -> None:
        self.buckets = [0] * (bucket_of(TOP_US) + 1)
        self.count, self.most_us = 0, 0

    def add(self, us: int) -> None:
        """A latency of that many microseconds; a negative one counts as none."""
        us = max(us, 0)
        self.buckets[us if us < 2048 else bucket_of(min(us, TOP_US))] += 1
        self.count += 1
        self.most_us = max(self.most_us, us)

    def percentile_ms(self, percent: float) -> float:
        """The latency that so many percent do not exceed; 0 without any."""
        wanted, seen = max(self.count * percent / 100, 1), 0
        for bucket, count in enumerate(self.buckets):
            seen += count
            if seen >= wanted:
                return min(top_us(bucket), self.most_us) / 1000
        return 0.0


def bucket_of(us: int) -> int:
    """The bucket of a number of microseconds, from 0."""
    shift = max(us.bit_length() - FINE - 1, 0)
    return (shift << FINE) + (us >> shift)


def top_us(bucket: int) -> int:
    """The highest number of microseconds in a bucket."""
    shift = max((bucket >> FINE) - 1, 0)
    return ((bucket - (shift << FINE) + 1) << shift) - 1
