"""The listeners of the settings: their sockets, and their listeners as the core sees them."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from authz.app.config import (
    HopSettings,
    IdentitySettings,
    ListenerSettings,
    PayloadSettings,
    Settings,
    TlsSettings,
    UserNameSettings,
)
from authz.app.systemd import inherited
from authz.clock import SystemClock
from authz.errors import ConfigError, Refused
from authz.identity import BearerToken, JwksCache, PayloadHeader, UserNameHeader
from authz.model import HeaderRules
from authz.pki import Certificate, Memo, TrustStore
from authz.pki.cache import SharedCache
from authz.telemetry import Telemetry
from authz.view import Hop, IdentitySource, Listener
from authz.web.sockets import BACKLOG, adjust, check_reach, listen, remove, socket_inode
from authz.web.tls import ReloadingContext, TlsFiles

HOP_BYTES = 1024 * 1024
"""What is remembered about the certificates of one gateway, of which there are a few."""

OPS = "ops"
"""The name of the operators' listener among the sockets; a listener of proxies may not have it."""


@dataclass(frozen=True, eq=False, slots=True)
class Opened:
    """A listening socket; `inode` is that of the file that is ours to remove."""

    address: str
    socket: socket.socket
    inode: int | None = None

    @property
    def shown(self) -> str:
        """Where it can be reached: of a TCP socket the port that it was given."""
        unix = self.socket.family == socket.AF_UNIX
        return self.address if unix else "{}:{}".format(*self.socket.getsockname()[:2])


class Sockets(Mapping[str, Opened]):
    """The listening sockets of a service, by the name of the listener. Immutable but for `close`."""

    def __init__(self, opened: Mapping[str, Opened]) -> None:
        self._opened = dict(opened)

    def __getitem__(self, name: str) -> Opened:
        return self._opened[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._opened)

    def __len__(self) -> int:
        return len(self._opened)

    @classmethod
    def open(cls, settings: Settings) -> Sockets:
        """Those that a service manager made, and the others anew. Raises `ConfigError`; then none is left open."""
        return cls(_handed_over(settings)).renewed(settings)

    def renewed(self, settings: Settings, besides: Sockets | None = None) -> Sockets:
        """Those of other settings: an address that stays keeps its socket, whatever its listener is called.

        `besides` are more that are open. Raises `ConfigError`; then nothing is left open that was not before.
        """
        check_listeners(settings)
        there = {} if besides is None else {one.address: one for one in besides.values()}
        there |= {one.address: one for one in self.values()}
        with contextlib.ExitStack() as undo:
            found = {}
            for name, address, listener in _wanted(settings):
                one = there.pop(address, None)
                if one is None:
                    one = _open(address, listener)
                    undo.callback(_close, one)
                found[name] = one
            # Last, for whoever fails above must leave everything as it was.
            for listener in settings.listener:
                one = found[listener.name]
                if one.inode is not None:
                    adjust(one.socket, one.address, listener.socket_mode, listener.socket_group, listener.backlog)
            undo.pop_all()
        return Sockets(found)

    def close(self, *but: Sockets) -> None:
        """Close all that none of `but` has, and remove the files that are ours."""
        for one in self._without(but):
            _close(one)

    def forget(self, *but: Sockets) -> None:
        """In a child: close all that none of `but` has; whose they are removes their files."""
        for one in self._without(but):
            one.socket.close()

    def _without(self, but: tuple[Sockets, ...]) -> list[Opened]:
        stay = [one for sockets in but for one in sockets.values()]
        return [one for one in self._opened.values() if one not in stay]


def check_listeners(settings: Settings) -> None:
    """Whether each listener may be where it is to be, whoever opened its socket. Raises `ConfigError`."""
    for _, address, listener in _wanted(settings):
        check_reach(address, anywhere=_may_be_anywhere(listener))


def _may_be_anywhere(listener: ListenerSettings | None) -> bool:
    """Whether more than this machine may reach it: the operators' listener never, plain text by its unsafe name."""
    return listener is not None and (listener.tls is not None or listener.unsafe_plaintext)


def _close(one: Opened) -> None:
    remove(one.address, one.inode)
    one.socket.close()


def _wanted(settings: Settings) -> Iterator[tuple[str, str, ListenerSettings | None]]:
    yield OPS, settings.ops.address, None
    for one in settings.listener:
        yield one.name, one.address, one


def _open(address: str, listener: ListenerSettings | None) -> Opened:
    if listener is None:
        made = listen(address)
    else:
        made = listen(
            address,
            mode=listener.socket_mode,
            group=listener.socket_group,
            backlog=listener.backlog,
            anywhere=_may_be_anywhere(listener),
        )
    return Opened(address, made, socket_inode(address))


def _handed_over(settings: Settings) -> dict[str, Opened]:
    """The listeners' sockets that a service manager made. Raises `ConfigError` for one that fits no listener."""
    handed = inherited()
    addresses = {one.name: one.address for one in settings.listener}
    for name, one in handed.items():
        if addresses.get(name) != f"unix:{one.getsockname()}":
            raise ConfigError(
                f"the socket handed over as {name} is no listener's",
                hint="FileDescriptorName= is the listener's name, ListenStream= its address",
            )
    return {name: Opened(addresses[name], one) for name, one in handed.items()}


def backlog_of(listener: ListenerSettings | None) -> int:
    """Connections that may wait to be accepted."""
    return BACKLOG if listener is None else listener.backlog


def tls_of(listener: str, settings: TlsSettings | None, telemetry: Telemetry) -> ReloadingContext | None:
    """Mutual TLS with the proxies of a listener, if it has any. Raises `ConfigError`."""
    if settings is None:
        return None
    files = TlsFiles(settings.certificate, settings.key, settings.client_ca)
    refused = partial(telemetry.proxy_refused, listener)
    return ReloadingContext(
        files, frozenset(settings.names), refused=refused, warn=telemetry.warn, now=SystemClock().now
    )


def warn_of_plaintext(settings: Settings, warn: Callable[[str], None]) -> None:
    """Of every listener beyond loopback that anybody may use who reaches it."""
    for one in settings.listener:
        if one.unsafe_plaintext:
            warn(f"unsafe_plaintext: whoever can connect to {one.address} can claim any certificate of any user")


def listener_of(
    settings: ListenerSettings, keys: JwksCache | None = None, memory: SharedCache | None = None
) -> Listener:
    """The listener as the core sees it; without `keys` it has no identity source. `memory` is for what they read.

    Raises `ConfigError` for gateways' anchors that cannot be read.
    """
    header = HeaderRules(
        certificate_header=settings.certificate.header,
        form=settings.certificate.form,
        chain_header=settings.certificate.chain_header,
        statement_header=settings.statement.header,
        statement=settings.statement.form,
    )
    organizations = None if settings.organizations is None else frozenset(settings.organizations)
    hops = tuple(map(_hop, settings.hops))
    identity = () if keys is None else tuple(_source(one, keys, memory) for one in settings.identity)
    return Listener(settings.name, identity, header, hops, organizations)


def _hop(settings: HopSettings) -> Hop:
    memo = SharedCache(HOP_BYTES).part(str(settings.anchors), Memo)
    return Hop(TrustStore(gateway_anchors(settings), memo=memo), frozenset(settings.names), settings.crl_required)


def gateway_anchors(settings: HopSettings) -> list[Certificate]:
    """The CAs of a listener's gateways. Raises `ConfigError`."""
    try:
        found = x509.load_pem_x509_certificates(settings.anchors.read_bytes())
        return [Certificate.parse(one.public_bytes(Encoding.DER)) for one in found]
    except (OSError, ValueError, Refused) as error:
        raise ConfigError(f"the gateways' anchors in {settings.anchors} cannot be read: {error}") from error


def _source(settings: IdentitySettings, keys: JwksCache, memory: SharedCache | None) -> IdentitySource:
    if isinstance(settings, UserNameSettings):
        return UserNameHeader(settings.header, settings.organization_header)
    if isinstance(settings, PayloadSettings):
        return PayloadHeader(settings.header, memory)
    return BearerToken(keys, memory)
