"""Where webhooks may go: public addresses, over https. Whoever registers an endpoint chooses where our server connects to, so
nothing of our own network may be reachable that way (server-side request forgery). Pure; ``sending`` asks it again for each
address that it is about to connect to.

Which ranges are special: IANA's special-purpose address registries (RFC 6890 and its updates), read 2026-11. For IPv6 the table
is the other way round: only 2000::/3 is given out for use on the internet.
"""

import ipaddress
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from payonce.core.errors import ConfigError, Refused

URL_CHARS_MAX: Final = 500
HOST_CHARS_MAX: Final = 253

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_V4_FORBIDDEN: Final = tuple(
    ipaddress.IPv4Network(each)
    for each in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by a provider's customers
        "127.0.0.0/8",  # this machine
        "169.254.0.0/16",  # link-local, and clouds' metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocols' own
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # relays of 6to4, given up
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
_V6_USED: Final = ipaddress.IPv6Network("2000::/3")
_V6_FORBIDDEN: Final = tuple(
    ipaddress.IPv6Network(each)
    for each in (
        "2001::/23",  # protocols' own: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: it carries an IPv4 address through whoever relays it
        "3fff::/20",  # documentation
    )
)
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")  # the last four bytes are the IPv4 address that is meant
# Never, whatever is on the allow-list: they hand out a machine's credentials.
_METADATA: Final = frozenset(map(ipaddress.ip_address, ("169.254.169.254", "169.254.170.2", "169.254.170.23", "fd00:ec2::254")))
_LOCAL_NAMES: Final = ("localhost", "local", "internal", "invalid", "home.arpa", "onion", "alt")

_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER: Final = re.compile(r"(?:[0-9]+|0[xX][0-9a-fA-F]*)")  # how the last label of an IPv4 address may be spelled
_PATH: Final = re.compile(r"[!-~]*")
_NETLOC: Final = re.compile(r"(?:\[[0-9a-fA-F:.%]*\]|[^\[\]:@]+)(?::[0-9]{1,5})?")


class Target(Struct, frozen=True):
    """Where a URL leads. ``host`` is ASCII in lower case, a literal IPv6 address without brackets; ``path`` has the query."""

    tls: bool
    host: str
    port: int
    path: str
    address: str = ""  # when the host is an IP address

    @property
    def authority(self) -> str:
        """The Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


class Allowed(Struct, frozen=True):
    """What may be reached although it is private: hosts by name, addresses and networks. Over http too."""

    names: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    def has(self, address: Address) -> bool:
        return any(address.version == each.version and address in each for each in self.networks)


def read_allowed(text: str) -> Allowed:
    """The setting webhooks.allow_hosts: names, addresses and networks, with commas between. Raises ConfigError."""
    names, networks = set[str](), list[Network]()
    for part in filter(None, (each.strip().lower().rstrip(".") for each in text.split(","))):
        try:
            networks.append(ipaddress.ip_network(part.removeprefix("[").removesuffix("]"), strict=False))
        except ValueError:
            if "/" in part or not _is_name(part) or _NUMBER.fullmatch(part.rpartition(".")[2]):
                raise ConfigError(
                    f"webhooks.allow_hosts: {part[:60]!r} is no host name, address or network. Write them with commas between: "
                    "127.0.0.1,localhost,10.1.0.0/16. Nothing was started."
                ) from None
            names.add(part)
    return Allowed(frozenset(names), tuple(networks))


def target(url: str, allowed: Allowed) -> Target:
    """Where the URL leads, if a webhook may go there. Raises Refused ``endpoint_refused``. A name may still lead to an address
    that is refused: ``forbidden`` tells, at each connection."""
    if len(url) > URL_CHARS_MAX or any(c.isspace() or not c.isprintable() for c in url) or "\\" in url:
        raise _refused(f"A URL has at most {URL_CHARS_MAX} characters, no spaces and no backslashes.")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise _refused("The URL cannot be read.") from None
    tls = parts.scheme == "https"
    if parts.scheme not in ("http", "https") or not host:
        raise _refused("The URL begins with https:// and names a host.")
    if "@" in parts.netloc or "#" in url:
        raise _refused("The URL has no user or password and no fragment.")
    if port == 0 or not _NETLOC.fullmatch(parts.netloc):
        raise _refused("The host is a name or an address, and the port is 1 to 65535.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not _PATH.fullmatch(path):
        raise _refused("Path and query are ASCII: what is not is percent-encoded.")
    host = _ascii(host)
    address = _literal(host)
    known = host in allowed.names or (address is not None and allowed.has(address))
    if address is None and not known and _local(host):
        raise _refused("The host is a name of a private network.")
    if address is not None and not public(address) and not known:
        raise _refused("The host is an address that is not public.")
    if address is not None and _unwrapped(address) in _METADATA:
        raise _refused("The host is an address that is not public.")
    if not tls and not known:
        raise _refused("The URL begins with https://; http is for hosts of webhooks.allow_hosts only.")
    return Target(tls, host, port or (443 if tls else 80), path, str(address) if address is not None else "")


def forbidden(host: str, address: str, allowed: Allowed) -> bool:
    """This address of the host must not be connected to. Anything that is no address is forbidden."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return True
    if getattr(found, "scope_id", None) or _unwrapped(found) in _METADATA:
        return True
    return not (public(found) or host in allowed.names or allowed.has(found))


def any_forbidden(host: str, addresses: Iterable[str], allowed: Allowed) -> bool:
    """One of them is: then none is connected to. A name that leads to us and elsewhere is an attempt."""
    return any(forbidden(host, each, allowed) for each in addresses)


def public(address: Address) -> bool:
    """It is given out for use on the internet. What carries an IPv4 address within counts as that one."""
    inner = _unwrapped(address)
    if isinstance(inner, ipaddress.IPv4Address):
        return not any(inner in each for each in _V4_FORBIDDEN)
    return inner in _V6_USED and not any(inner in each for each in _V6_FORBIDDEN)


def without_query(url: str) -> str:
    """For records that people read: a query may hold what its owner takes for a secret."""
    return url.partition("?")[0]


def _unwrapped(address: Address) -> Address:
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _literal(host: str) -> Address | None:
    """The address that the host is, or None for a name. Raises Refused for an address that is not spelled plainly: 127.1,
    0x7f000001 and 2130706433 mean this machine to some, and a name to others."""
    if ":" in host or "%" in host:
        try:
            found = ipaddress.IPv6Address(host)
        except ValueError:
            raise _refused("The host is no address and no name.") from None
        if found.scope_id:
            raise _refused("The host is an address that is not public.")
        return found
    if not _NUMBER.fullmatch(host.rpartition(".")[2]):
        return None
    try:
        return ipaddress.IPv4Address(host)
    except ValueError:
        raise _refused("The host is a number. Write an address as four plain numbers with dots between.") from None


def _ascii(host: str) -> str:
    """The host as it is asked for in DNS, without its last dot. Raises Refused."""
    if ":" in host:
        return host
    if not host.isascii():
        import httpx2  # knows IDNA; most hosts do not need it

        try:
            host = httpx2.URL(scheme="https", host=host).raw_host.decode("ascii")
        except (httpx2.InvalidURL, UnicodeError):
            raise _refused("The host is no name that DNS can hold.") from None
    host = host.lower().removesuffix(".")
    if not _is_name(host):
        raise _refused(f"The host is no name that DNS can hold: at most {HOST_CHARS_MAX} characters, 63 between two dots.")
    return host


def _is_name(host: str) -> bool:
    return 0 < len(host) <= HOST_CHARS_MAX and all(_LABEL.fullmatch(label) for label in host.split("."))


def _local(name: str) -> bool:
    return "." not in name or any(name == each or name.endswith("." + each) for each in _LOCAL_NAMES)


def _refused(why: str) -> Refused:
    return Refused("endpoint_refused", why)
