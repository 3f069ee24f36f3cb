"""The guard: what the hot paths cost, counted and not timed, so that a noisy machine does not matter.

``ground`` sets the scene and names the operations, ``counts`` counts calls, statements and syncs (in `make test`),
``instructions`` counts instructions with valgrind (in `make guard`), ``baseline`` compares. ``python -m tests.guard --help``.
"""
