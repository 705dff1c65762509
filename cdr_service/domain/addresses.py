"""One spelling for every way of writing an address, so that two addresses are the same when their texts are equal.

An address reaches us as a SIP URI, a tel URI, a JID, a bare directory number, or any of these in a display form. The
spelling here is `user@host`, or the user or number alone where no host is given:

- the user part in one case (Unicode), without password and parameters; characters that separate parts of an address
  are percent-encoded in it, all others are not. Thus `sip:alice%40example.com@partner.example` never turns into
  `alice@example.com`, and spelling a spelled address again changes nothing.
- the host in lower case and ASCII (IDNA), without port; an IPv6 address is compressed and in brackets.
- a number in digits only. The leading `+` goes too: trunks and phones leave it out as often as not.

A text that can be read in two ways (two hosts, two addresses) is no address.
"""

import re
import unicodedata
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import quote, unquote

# Longer than any address in practice; what a stranger may send must not cost more than this.
_MAX_LENGTH = 1024

_SCHEMES = re.compile(r"(?:(?:sips?|tel):\s*)+", re.IGNORECASE)
_QUOTED = re.compile(r'"(?:\\.|[^"\\])*"')
_PHONE_CONTEXT = re.compile(r";phone-context=([^;?]*)", re.IGNORECASE)
_SEPARATORS_OF_PARTS = re.compile(r'[\s\x00-\x1f\x7f%@:;?<>"]')
_VISUAL_SEPARATORS = re.compile(r"[\s().-]")
_NUMBER = re.compile(r"\+?([0-9]+)")
_HOST_NAME = re.compile(r"([a-z0-9_-]+(?:\.[a-z0-9_-]+)*)\.?(?::[0-9]*)?")
_IPV6_IN_BRACKETS = re.compile(r"\[([0-9a-f:.]+)(?:%[^\]]*)?\](?::[0-9]*)?")


def normalize_address(text: str) -> str | None:
    """Return the one spelling of an address: `user@host`, or a bare user or number; None where there is none."""
    if len(text) > _MAX_LENGTH:
        return None
    uri = _uri_of(text)
    if uri is None:
        return None
    user, at, rest = uri.partition("@")
    if at:
        return _join(user, re.split(r"[;?/]", rest, maxsplit=1)[0])
    context = _PHONE_CONTEXT.search(uri)
    user = re.split(r"[;?]", uri, maxsplit=1)[0]
    if context is not None:  # a number of somebody's own dial plan (RFC 3966): that makes it their number, not ours
        return _join(user, context[1])
    # What has colons but is no `host:port` is an IPv6 address; its first group must not pass for a number.
    bare, colon, port = user.partition(":")
    return None if colon and not port.isdecimal() else _normalize_user(bare)


def normalize_host(text: str) -> str | None:
    """Return the one spelling of a host name or IP address, without its port; None where it is none."""
    host = text.strip().lower()
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii").lower()
        except UnicodeError:
            return None
    name = _HOST_NAME.fullmatch(host)
    if name is not None:
        return name[1]
    bracketed = _IPV6_IN_BRACKETS.fullmatch(host)
    try:
        return f"[{IPv6Address(bracketed[1] if bracketed else host).compressed}]"
    except ValueError:
        return None


def is_ip_host(host: str) -> bool:
    """Whether a host, spelled as `normalize_host` does, is an IP address."""
    return host.startswith("[") or _is_ipv4(host)


def fold_case(text: str) -> str:
    """Return a text without outer white space and without differences of case or of Unicode composition."""
    text = text.strip()
    if text.isascii():
        return text.lower()
    # What is decomposed folds otherwise than what is composed (Unicode 3.13, canonical caseless matching).
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())


def _uri_of(text: str) -> str | None:
    """Take the address out of a display form such as `"Alice" <sip:alice@example.com>;tag=1`, without its scheme."""
    if "<" in text:
        unquoted = _QUOTED.sub("", text)
        if unquoted.count("<") != 1:
            return None
        text = unquoted.partition("<")[2].partition(">")[0]
    text = text.strip()
    scheme = _SCHEMES.match(text)
    return text[scheme.end() :] if scheme else text


def _join(user: str, host: str) -> str | None:
    normal_user, normal_host = _normalize_user(user), normalize_host(host)
    return f"{normal_user}@{normal_host}" if normal_user and normal_host else None


def _normalize_user(text: str) -> str | None:
    # A SIP user part may carry a password after a colon and, for numbers, parameters after a semicolon.
    user = fold_case(unquote(re.split(r"[:;]", text, maxsplit=1)[0].strip()))
    if not user or "\ufffd" in user:  # escapes that are not UTF-8 all look alike once decoded
        return None
    if not _is_ipv4(user):
        number = _NUMBER.fullmatch(_VISUAL_SEPARATORS.sub("", user))
        if number is not None:
            return number[1]
    return _SEPARATORS_OF_PARTS.sub(lambda found: quote(found[0], safe=""), user)


def _is_ipv4(text: str) -> bool:
    if text.count(".") != 3 or not text[-1].isdigit():  # noqa: PLR2004 - a cheap test before the exact one
        return False
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True
