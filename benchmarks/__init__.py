"""How fast payonce is, beside what people would use instead: ``python -m benchmarks`` (``make bench``).

Everything runs on the real server over HTTP, with a real disk that is really synced, in one run, side by side. Figures of
different machines are compared by their ratios. Linux only: CPU time and memory come from ``/proc``. See docs/performance.md.
"""
