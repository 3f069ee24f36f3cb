"""The proof against the deployed stack: what holds on SQLite holds here, whatever is killed, lost, doubled or late."""
