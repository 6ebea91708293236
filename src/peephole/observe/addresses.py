"""Socket addresses as the kernel has them (struct sockaddr) in words."""

from __future__ import annotations

import ipaddress
import struct

_UNIX, _INET, _INET6, _NETLINK, _PACKET = 1, 2, 10, 16, 17


def spell(raw: bytes) -> bytes | None:
    """`inet:127.0.0.1:80`, `inet6:[::1]:80`, `unix:/path`, `unix:@name`, `unix:` (unnamed), `netlink:PID:GROUPS`,
    `family:N` for others; None for what is too short to be an address.

    A Unix path is any bytes; the @ of an abstract name stands for its NUL.

        >>> spell(bytes.fromhex("02000050 7f000001 0000000000000000"))
        b'inet:127.0.0.1:80'
    """
    if len(raw) < 2:
        return None
    family = int.from_bytes(raw[:2], "little")
    if family == _UNIX:
        path = raw[2:]
        return b"unix:" + (b"@" + path[1:] if path[:1] == b"\0" and len(path) > 1 else path.split(b"\0", 1)[0])
    if family == _INET and len(raw) >= 8:
        return f"inet:{ipaddress.IPv4Address(raw[4:8])}:{int.from_bytes(raw[2:4])}".encode()
    if family == _INET6 and len(raw) >= 24:
        return f"inet6:[{ipaddress.IPv6Address(raw[8:24])}]:{int.from_bytes(raw[2:4])}".encode()
    if family == _NETLINK and len(raw) >= 12:
        return "netlink:{}:{}".format(*struct.unpack_from("<II", raw, 4)).encode()
    if family == 0:
        return b"unspec:"
    return f"family:{family}".encode()
