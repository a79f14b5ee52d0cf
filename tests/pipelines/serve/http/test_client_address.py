"""The address of a client behind proxies."""

import pytest
from starlette.datastructures import Headers

from longtake.pipelines.serve.http.client_address import UNKNOWN, TrustedProxies
from longtake.pipelines.serve.settings import ServeParams

PROXIES = TrustedProxies(["127.0.0.1", "::1", "10.0.0.0/8"])


@pytest.mark.report("A12")
@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("8.8.8.8", None, "8.8.8.8"),
        ("8.8.8.8", "1.1.1.1", "8.8.8.8"),
        ("127.0.0.1", None, "127.0.0.1"),
        ("127.0.0.1", "1.1.1.1", "1.1.1.1"),
        ("127.0.0.1", "6.6.6.6, 1.1.1.1", "1.1.1.1"),  # the client wrote the first one
        ("127.0.0.1", "1.1.1.1, 10.0.0.9", "1.1.1.1"),
        ("127.0.0.1", "6.6.6.6, 1.1.1.1, 10.0.0.9", "1.1.1.1"),
        ("127.0.0.1", "10.0.0.9, 10.0.0.8", "10.0.0.9"),
        ("127.0.0.1", "6.6.6.6, unknown", "127.0.0.1"),
        ("127.0.0.1", "6.6.6.6, , 1.1.1.1:443,", "1.1.1.1"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("::1", "[2001:db8:1:2:3::4]:443", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::ffff", None, "2001:db8:1:2::/64"),
        ("::ffff:8.8.8.8", None, "8.8.8.8"),
        ("::ffff:10.0.0.1", "1.1.1.1", "1.1.1.1"),
        ("::1", None, "::1"),
        (None, "1.1.1.1", UNKNOWN),
        ("a socket", "1.1.1.1", UNKNOWN),
    ],
)
def test_the_client_is_the_last_address_that_is_no_proxy(peer, forwarded, client):
    headers = Headers({} if forwarded is None else {"X-Forwarded-For": forwarded})
    assert PROXIES.client(peer, headers) == client


def test_headers_of_the_same_name_are_one_list():
    raw = [(b"x-forwarded-for", b"6.6.6.6"), (b"x-forwarded-for", b"1.1.1.1")]
    assert PROXIES.client("127.0.0.1", Headers(raw=raw)) == "1.1.1.1"


@pytest.mark.parametrize(
    ("peer", "scheme", "proto", "is_https"),
    [("127.0.0.1", "http", "https", True), ("8.8.8.8", "http", "https", False), ("8.8.8.8", "https", "http", True),
     ("127.0.0.1", "http", "https, http", False), ("127.0.0.1", "http", None, False), (None, "http", "https", False)],
)  # fmt: skip
def test_a_proxy_knows_whether_its_client_uses_tls(peer, scheme, proto, is_https):
    assert PROXIES.is_https(peer, scheme, Headers({"X-Forwarded-Proto": proto} if proto else {})) == is_https


@pytest.mark.parametrize(
    ("name", "value"),
    [("trusted_proxies", "10.0.0.1/8"), ("trusted_proxies", "proxy.example"), ("cors_origins", "https://a.example/"),
     ("cors_origins", "a.example")],
)  # fmt: skip
def test_settings_that_match_nothing_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}={value}: must be"):
        ServeParams(**{name: (value,)})
