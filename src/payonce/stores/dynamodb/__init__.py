"""The store on DynamoDB. ``open_store`` makes it, on the tables that ``tables.CREATE`` describes."""

from .store import DynamoStore, open_store
from .tables import CREATE, SHARDS, Tables, create_tables

__all__ = ["CREATE", "SHARDS", "DynamoStore", "Tables", "create_tables", "open_store"]
