"""What a process tree is connected to, and what it has loaded, read from Linux's /proc."""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

LISTENING = "0A"


@dataclass(frozen=True)
class Socket:
    """One internet socket: "tcp", "tcp6", "udp" or "udp6", whether it listens, and its two ends."""

    kind: str
    listens: bool
    local: tuple[IPv4Address | IPv6Address, int]
    remote: tuple[IPv4Address | IPv6Address, int]

    @property
    def on_loopback(self) -> bool:
        """Whether nothing but this machine can be at the other end."""
        ends = [self.local[0]] if self.listens else [self.local[0], self.remote[0]]
        return all(end.is_loopback for end in ends)


def family(pid: int) -> list[int]:
    """A process and everything it started that still runs."""
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            found += [int(word) for word in task.read_text().split() if not _ended(word)]
    return found


def _ended(pid: str) -> bool:
    """Whether only an entry in the table of processes is left, until whoever started it asks how it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def sockets(pids: list[int]) -> list[Socket]:
    """Internet sockets of these processes."""
    inodes = {_inode(link) for pid in pids for link in Path(f"/proc/{pid}/fd").glob("*")} - {""}
    found = []
    for kind in ("tcp", "tcp6", "udp", "udp6"):
        table = Path(f"/proc/net/{kind}")
        for line in table.read_text().splitlines()[1:] if table.exists() else []:
            words = line.split()
            if words[9] in inodes:
                listens = kind.startswith("tcp") and words[3] == LISTENING
                found.append(Socket(kind, listens, _end(words[1]), _end(words[2])))
    return found


def loaded(pid: int, part: str) -> bool:
    """Whether a process has mapped a file with this in its name."""
    return any(part in line for line in Path(f"/proc/{pid}/maps").read_text().splitlines())


def handshake(port: int, host: str, origin: str) -> int:
    """Status that a web-socket request to the app on this port gets under a Host and an Origin."""
    lines = (
        "GET /_stcore/stream HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13", f"Origin: {origin}", "", "",
    )  # fmt: skip
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        line.sendall("\r\n".join(lines).encode())
        return int(line.recv(64).split()[1])


def _inode(link: Path) -> str:
    try:
        target = os.readlink(link)
    except OSError:
        return ""
    return target[len("socket:[") : -1] if target.startswith("socket:[") else ""


def _end(word: str) -> tuple[IPv4Address | IPv6Address, int]:
    """An end as /proc writes it: 32-bit words of the address in the machine's order, then the port."""
    address, port = word.split(":")
    raw = bytes.fromhex(address)
    if sys.byteorder == "little":
        raw = b"".join(raw[i : i + 4][::-1] for i in range(0, len(raw), 4))
    found = ip_address(raw)
    mapped = getattr(found, "ipv4_mapped", None)
    return mapped or found, int(port, 16)
