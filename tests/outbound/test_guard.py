"""Where webhooks may go: nothing of our own network, however it is spelled."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payonce.core.errors import ConfigError, Refused
from payonce.outbound import guard
from payonce.outbound.guard import Allowed, forbidden, public, read_allowed, target

NONE = Allowed()


def refused(url: str, allowed: Allowed = NONE) -> bool:
    try:
        target(url, allowed)
    except Refused as error:
        return error.code == "endpoint_refused"
    return False


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.1.",
        "\uff11\uff12\uff17.\uff10.\uff10.\uff11",  # full-width digits, which IDNA makes plain
        "127\u30020\u30020\u30021",  # and full stops
        "0",
        "0.0.0.0",  # noqa: S104
        "10.1.2.3",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.169.254",
        "169.254.170.2",
        "2852039166",
        "0xa9fea9fe",
        "0xA9.0xFE.0xA9.0xFE",
        "100.64.0.1",
        "100.100.100.200",
        "198.18.0.1",
        "192.0.2.1",
        "198.51.100.7",
        "203.0.113.7",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "192.0.0.192",
        "1.2.3",
        "1.2.3.4.5",
        "256.1.1.1",
        "0x",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[0:0:0:0:0:ffff:a9fe:a9fe]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b::169.254.169.254]",
        "[64:ff9b:1::1]",
        "[2002:7f00:1::]",
        "[2002:a9fe:a9fe::1]",
        "[2001::1]",
        "[2001:db8::1]",
        "[3fff::1]",
        "[fe80::1]",
        "[fe80::1%25eth0]",
        "[fe80::1%eth0]",
        "[2606:4700:4700::1111%25lo]",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "[fec0::1]",
        "[ff02::1]",
        "[5f00::1]",
        "[100::1]",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "a.localhost",
        "printer.local",
        "metadata.google.internal",
        "x.invalid",
        "router.home.arpa",
        "redis",
        "",
    ],
)
def test_what_is_not_public_is_refused(host: str) -> None:
    """Each spelling of an address of ours, and each name that is only known inside a network."""
    assert refused(f"https://{host}/hook")
    assert refused(f"https://{host}:8443/hook")


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com:25/",
        "//example.com/",
        "example.com",
        "https:/example.com",
        "https://",
        "https://user@example.com/",
        "https://user:secret@example.com/",
        "https://example.com@127.0.0.1/",
        "https://127.0.0.1#@example.com/",
        "https://example.com/#part",
        "https://example.com\\@127.0.0.1/",
        "https://example.com:0/",
        "https://example.com:65536/",
        "https://example.com:/",
        "https://example.com:8x/",
        "https://exa mple.com/",
        "https://example.com/a b",
        "https://example.com/\r\nhost: x",
        "https://example.com/ä",
        "https://exam_ple..com/",
        "https://-example.com/",
        "https://" + "a" * 64 + ".com/",
        "https://" + ".".join(["abcdefgh"] * 40) + ".com/",
        "https://example.com/" + "a" * 500,
        "https://[::1/",
        "https://[v1.x]/",
        "https://127.0.0.1[::ffff]/",
        "https://a%2eexample.com/",
        "https://xn--a.\u2488com/",
    ],
)
def test_what_is_no_plain_https_url_is_refused(url: str) -> None:
    """No other scheme, no user, no fragment, nothing that two parsers may read in two ways."""
    assert refused(url)


@pytest.mark.parametrize(
    ("url", "host", "port", "authority", "path"),
    [
        ("https://example.com", "example.com", 443, "example.com", "/"),
        ("HTTPS://Example.COM./in?a=b", "example.com", 443, "example.com", "/in?a=b"),
        ("https://example.com:443/", "example.com", 443, "example.com", "/"),
        ("https://hooks.example.co.uk:8443/x/y", "hooks.example.co.uk", 8443, "hooks.example.co.uk:8443", "/x/y"),
        ("https://8.8.8.8/", "8.8.8.8", 443, "8.8.8.8", "/"),
        ("https://[2606:4700:4700::1111]:8443/", "2606:4700:4700::1111", 8443, "[2606:4700:4700::1111]:8443", "/"),
        ("https://bücher.example/", "xn--bcher-kva.example", 443, "xn--bcher-kva.example", "/"),
        ("https://faß.example.com/", "xn--fa-hia.example.com", 443, "xn--fa-hia.example.com", "/"),
        ("https://my_host.example.com/", "my_host.example.com", 443, "my_host.example.com", "/"),
    ],
)
def test_what_is_public_is_taken(url: str, host: str, port: int, authority: str, path: str) -> None:
    """And read as DNS and TLS need it: ASCII, lower case, no last dot."""
    to = target(url, NONE)
    assert (to.tls, to.host, to.port, to.authority, to.path) == (True, host, port, authority, path)


@pytest.mark.parametrize(
    ("allow", "url", "taken"),
    [
        ("127.0.0.1", "http://127.0.0.1:9000/", True),
        ("127.0.0.1", "http://127.0.0.2/", False),
        ("127.0.0.1", "http://2130706433/", False),
        ("localhost", "http://localhost:9000/", True),
        ("localhost", "http://127.0.0.1/", False),
        ("10.1.0.0/16, ::1", "http://10.1.2.3/", True),
        ("10.1.0.0/16, ::1", "http://10.2.2.3/", False),
        ("10.1.0.0/16, ::1", "http://[::1]/", True),
        ("hooks.internal", "http://hooks.internal/", True),
        ("hooks.internal", "https://other.internal/", False),
        ("example.com", "http://example.com/", True),
        ("example.com", "http://a.example.com/", False),
        ("0.0.0.0/0,::/0,169.254.169.254", "http://169.254.169.254/latest/meta-data/", False),
        ("0.0.0.0/0,::/0", "http://[::ffff:169.254.169.254]/", False),
        ("0.0.0.0/0,::/0", "http://[fd00:ec2::254]/", False),
    ],
)
def test_the_allow_list_lets_in_what_it_names(allow: str, url: str, taken: bool) -> None:
    """Names, addresses and networks, over http too; metadata services never."""
    assert refused(url, read_allowed(allow)) is not taken


@pytest.mark.parametrize("text", ["http://127.0.0.1", "10.0.0.0/33", "a b", "127.1", "*.internal", "-x"])
def test_an_allow_list_that_cannot_be_read_is_refused(text: str) -> None:
    """A typing error must not let in less, or more, than what was meant."""
    with pytest.raises(ConfigError, match=r"webhooks\.allow_hosts"):
        read_allowed(text)


def test_an_empty_allow_list_lets_nothing_in() -> None:
    """Nor do commas."""
    assert read_allowed(" , ") == NONE


def test_at_the_connection_one_address_that_is_not_public_is_enough() -> None:
    """A name that leads to somewhere public and to us is an attempt; the allow-list counts here too."""
    assert not guard.any_forbidden("h.example.com", ["8.8.8.8", "2606:4700:4700::1111"], NONE)
    assert guard.any_forbidden("h.example.com", ["8.8.8.8", "127.0.0.1"], NONE)
    assert guard.any_forbidden("h.example.com", ["fe80::1%eth0"], NONE)
    assert guard.any_forbidden("h.example.com", ["no address"], NONE)
    assert not guard.any_forbidden("h.example.com", ["127.0.0.1"], read_allowed("h.example.com"))
    assert not guard.any_forbidden("h.example.com", ["10.0.0.9"], read_allowed("10.0.0.0/24"))
    assert guard.any_forbidden("h.example.com", ["169.254.169.254"], read_allowed("h.example.com"))


@given(st.ip_addresses(v=4))
def test_no_ipv4_address_that_python_knows_as_special_is_public(address: ipaddress.IPv4Address) -> None:
    """Python has the same registries, in its own words; each mapped and translated form counts as the address within."""
    special = address.is_private or address.is_loopback or address.is_link_local or address.is_multicast
    special = special or address.is_reserved or address.is_unspecified
    mapped = ipaddress.IPv6Address(f"::ffff:{address}")
    nat64 = ipaddress.IPv6Address(int(ipaddress.IPv6Address("64:ff9b::")) + int(address))
    assert public(mapped) == public(nat64) == public(address)
    if special:
        assert not public(address)
        assert forbidden("h.example.com", str(address), NONE)


@given(st.ip_addresses(v=6))
def test_no_ipv6_address_that_python_knows_as_special_is_public(address: ipaddress.IPv6Address) -> None:
    """The same for IPv6, where all is refused that is not given out; what holds an IPv4 address is in the test above."""
    if address.is_private or address.is_multicast or address.is_reserved or address.is_link_local:
        within = address.ipv4_mapped is not None or address in ipaddress.ip_network("64:ff9b::/96")
        assert within or not public(address)


@given(st.text(max_size=60))
def test_any_text_is_a_target_or_refused(text: str) -> None:
    """Nothing else comes out, whatever is typed in; what is taken has a host of plain ASCII."""
    for url in (text, f"https://{text}", f"https://example.com/{text}", f"https://{text}.example.com:81/"):
        if not refused(url):
            to = target(url, NONE)
            assert (to.host.isascii(), to.path.isascii(), to.host) == (True, True, to.host.lower())
