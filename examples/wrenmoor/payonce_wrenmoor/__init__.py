"""Wrenmoor for payonce: the adapter, and a simulator of the vendor for the sandbox."""
