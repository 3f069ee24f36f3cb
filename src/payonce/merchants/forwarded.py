"""How one sees that a request came through a proxy: it is of whoever the proxy had it from, also where the connection itself is
of this machine."""

from typing import Final

# What proxies add (RFC 7239, RFC 9110 7.6.3, and what nginx, Apache, Envoy, Cloudflare and Akamai call it); lower case, as ASGI
# has names.
FORWARDED: Final = frozenset(
    {
        b"cf-connecting-ip",
        b"forwarded",
        b"true-client-ip",
        b"via",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-forwarded-server",
        b"x-real-ip",
    }
)
