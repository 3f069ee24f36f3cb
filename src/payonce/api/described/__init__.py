"""What the OpenAPI document says of each operation, room by room, with an example each; ``api/openapi.py`` puts it together."""
