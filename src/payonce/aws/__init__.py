"""The engine on AWS Lambda: one handler a file (``api``, ``worker``, ``sweeper``), and ``runtime``, which they share."""
