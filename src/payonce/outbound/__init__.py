"""Webhooks to merchants: their endpoints, and the courier that tells them what happened, signed, at least once, in no promised
order."""
