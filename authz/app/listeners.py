"""Makes the listeners of the settings: their sockets, and the listeners as the core sees them."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from authz.app.config import (
    IdentitySettings,
    ListenerSettings,
    OpsSettings,
    PayloadSettings,
    Settings,
    TlsSettings,
    TrustedProxySettings,
    UserNameSettings,
)
from authz.app.systemd import inherited_sockets
from authz.clock import SystemClock
from authz.errors import ConfigError, Refused
from authz.identity.header import UserNameHeader
from authz.identity.keys import JwksCache
from authz.identity.payload import PayloadHeader
from authz.identity.token import BearerToken
from authz.model import HeaderRules, IndicatorForm
from authz.pki import Certificate, TrustStore, VerifiedCache
from authz.pki.cache import SharedCache
from authz.pki.x509.library import pem_blocks
from authz.telemetry import Telemetry
from authz.view import IdentitySource, Listener, TrustedProxy
from authz.web.sockets import adjust, bind, check_reach, listen, remove, socket_inode
from authz.web.tls import ReloadingContext, TlsFiles

GATEWAY_CACHE_BYTES = 1024 * 1024
"""For the caches of one gateway's certificates, of which there are a few."""

OPS = "ops"
"""The name of the operators' listener among the sockets; no listener of proxies has it."""

HEALTH_PROBES = "ops.health_probes"
"""That of the listener for health probes; no name of a listener has a dot."""

OPERATORS = (OPS, HEALTH_PROBES)
"""The listeners that the CRL manager answers; workers answer all others."""

OPERATORS_BACKLOG = 128
"""Connections that may wait there: at the pace at which they are accepted, a second's."""


@dataclass(frozen=True, eq=False, slots=True)
class ListeningSocket:
    """A socket to listen on; `inode` is that of the file, if it is this service's to remove."""

    address: str
    socket: socket.socket
    inode: int | None = None

    @property
    def is_replaced(self) -> bool:
        """Whether another file lies where its own was; False for a socket whose file is not this service's."""
        try:
            return self.inode not in {None, socket_inode(self.address)}
        except OSError:
            return False

    @property
    def shown(self) -> str:
        """Its address; of a TCP socket with the port that it was given."""
        unix = self.socket.family == socket.AF_UNIX
        return self.address if unix else "{}:{}".format(*self.socket.getsockname()[:2])


class Sockets(Mapping[str, ListeningSocket]):
    """The listening sockets of a service, by the name of the listener. Immutable but for `close`."""

    def __init__(self, opened: Mapping[str, ListeningSocket]) -> None:
        self._opened = dict(opened)

    def __getitem__(self, name: str) -> ListeningSocket:
        return self._opened[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._opened)

    def __len__(self) -> int:
        return len(self._opened)

    @classmethod
    def open(cls, settings: Settings) -> Sockets:
        """Take those that a service manager made, and open the rest. Raises `ConfigError`; then none is left open."""
        return cls(_handed_over(settings)).updated(settings)

    def updated(self, settings: Settings, reusable: Sockets | None = None) -> Sockets:
        """The sockets of other settings: an address that stays keeps its socket, whatever its listener is called.

        `reusable` are more that are open. Raises `ConfigError`; then nothing is left open that was not before.
        """
        check_listeners(settings)
        there = {opened.address: opened for sockets in (reusable or Sockets({}), self) for opened in sockets.values()}
        with contextlib.ExitStack() as undo:
            updated = {}
            for name, address, section in _wanted(settings):
                opened = there.pop(address, None)
                if opened is None:
                    opened = _open(address, section)
                    undo.callback(_close, opened)
                updated[name] = opened
            # Last, because a failure above must leave everything as it was.
            for listener in settings.listener:
                opened = updated[listener.name]
                if opened.inode is not None:
                    adjust(opened.socket, opened.address, listener.socket_mode, listener.socket_group, listener.backlog)
            undo.pop_all()
        return Sockets(updated)

    @property
    def lost(self) -> list[str]:
        """The addresses of Unix sockets whose file is another's now: of two services that start, the later has it."""
        return [opened.address for opened in self.values() if opened.is_replaced]

    def close(self, *kept: Sockets) -> None:
        """Close those that are in none of `kept`, and remove their files."""
        for opened in self._without(kept):
            _close(opened)

    def forget(self, *kept: Sockets) -> None:
        """In a child: close those that are in none of `kept`; their files are the supervisor's to remove."""
        for opened in self._without(kept):
            opened.socket.close()

    def _without(self, kept: tuple[Sockets, ...]) -> list[ListeningSocket]:
        staying = [opened for sockets in kept for opened in sockets.values()]
        return [opened for opened in self.values() if opened not in staying]


def check_listeners(settings: Settings) -> None:
    """Whether each listener may have its address, also where its socket is open. Raises `ConfigError`."""
    for _, address, section in _wanted(settings):
        check_reach(address, anywhere=_may_be_anywhere(section))


def _may_be_anywhere(section: ListenerSettings | OpsSettings | None) -> bool:
    """Whether other machines may connect: never to the probes' listener, in plain text only if set unsafely."""
    return section is not None and (section.tls is not None or section.unsafe_plaintext)


def _close(opened: ListeningSocket) -> None:
    remove(opened.address, opened.inode)
    opened.socket.close()


def _wanted(settings: Settings) -> Iterator[tuple[str, str, ListenerSettings | OpsSettings | None]]:
    yield OPS, settings.ops.address, settings.ops
    if settings.ops.health_probe_address is not None:
        yield HEALTH_PROBES, settings.ops.health_probe_address, None
    for listener in settings.listener:
        yield listener.name, listener.address, listener


def _open(address: str, section: ListenerSettings | OpsSettings | None) -> ListeningSocket:
    anywhere = _may_be_anywhere(section)
    if isinstance(section, ListenerSettings):
        # The first worker that is ready makes it listen: until then a proxy's connection is refused, and the proxy
        # asks another instance, where it would wait here for longer than it may.
        opened = bind(address, mode=section.socket_mode, group=section.socket_group, anywhere=anywhere)
    else:
        opened = listen(address, backlog=OPERATORS_BACKLOG, anywhere=anywhere)
    return ListeningSocket(address, opened, socket_inode(address))


def _handed_over(settings: Settings) -> dict[str, ListeningSocket]:
    """The listeners' sockets that a service manager made. Raises `ConfigError` for one that fits no listener."""
    inherited = inherited_sockets()
    addresses = {listener.name: listener.address for listener in settings.listener}
    for name, opened in inherited.items():
        if addresses.get(name) != f"unix:{opened.getsockname()}":
            raise ConfigError(
                f"the socket handed over as {name} belongs to no listener",
                hint="FileDescriptorName= is the listener's name, ListenStream= its address",
            )
    return {name: ListeningSocket(addresses[name], opened) for name, opened in inherited.items()}


def tls_of(listener: str, settings: TlsSettings | None, telemetry: Telemetry) -> ReloadingContext | None:
    """Mutual TLS with the proxies of a listener, if it has any. Raises `ConfigError`."""
    if settings is None:
        return None
    files = TlsFiles(settings.certificate, settings.key, settings.client_ca)
    refused = partial(telemetry.proxy_refused, listener)
    return ReloadingContext(
        files, frozenset(settings.names), refused=refused, warn=telemetry.warn, now=SystemClock().now
    )


def warn_of_weakness(settings: Settings, warn: Callable[[str], None]) -> None:
    """Warn of every listener that serves other machines in plain text, or has no statement of its proxy."""
    if settings.ops.unsafe_plaintext:
        warn(
            f"ops.unsafe_plaintext: every client of {settings.ops.address} reads the names of organizations and of "
            "sources of CRLs"
        )
    for listener in settings.listener:
        if listener.unsafe_plaintext:
            warn(f"unsafe_plaintext: every client of {listener.address} can claim any certificate of any user")
        if listener.client_cert_indicator.form is IndicatorForm.NONE:
            warn(
                f'client_cert_indicator of {listener.name} has form = "none": a client that makes its proxy drop '
                f"{listener.certificate.header}, as by a Connection header, passes as one without a certificate"
            )


def listener_of(
    settings: ListenerSettings, keys: JwksCache | None = None, memory: SharedCache | None = None
) -> Listener:
    """The listener as the core sees it; without `keys` it has no identity source. `memory` is for their caches.

    Raises `ConfigError` for gateways' anchors that cannot be read.
    """
    indicator = settings.client_cert_indicator
    header = HeaderRules(
        certificate_header=settings.certificate.header,
        form=settings.certificate.form,
        chain_header=settings.certificate.chain_header,
        indicator_header=None if indicator.form is IndicatorForm.NONE else indicator.header,
        indicator=indicator.form,
        none_values=_octets(settings.certificate.none),
        indicator_prefix=indicator.prefix.encode("ascii"),
        indicator_presented=_octets(indicator.presented),
        indicator_none=_octets(indicator.none),
    )
    organizations = None if settings.organizations is None else frozenset(settings.organizations)
    hops = tuple(map(_trusted_proxy, settings.trusted_proxies))
    identity = () if keys is None else tuple(_source(source, keys, memory) for source in settings.identity)
    return Listener(settings.name, identity, header, hops, organizations, settings.client_request.headers)


def _octets(values: tuple[str, ...]) -> frozenset[bytes]:
    return frozenset(value.encode("ascii") for value in values)


def _trusted_proxy(settings: TrustedProxySettings) -> TrustedProxy:
    verified = SharedCache(GATEWAY_CACHE_BYTES).part(str(settings.anchors), VerifiedCache)
    trust = TrustStore(gateway_anchors(settings), verified=verified)
    return TrustedProxy(trust, frozenset(settings.names), settings.crl_required)


def gateway_anchors(settings: TrustedProxySettings) -> list[Certificate]:
    """The CAs of a listener's gateways. Raises `ConfigError`."""
    try:
        return list(map(Certificate.parse, pem_blocks(settings.anchors.read_bytes(), b"CERTIFICATE")))
    except (OSError, ValueError, Refused) as error:
        raise ConfigError(f"the gateways' anchors in {settings.anchors} cannot be read: {error}") from error


def _source(settings: IdentitySettings, keys: JwksCache, memory: SharedCache | None) -> IdentitySource:
    if isinstance(settings, UserNameSettings):
        return UserNameHeader(settings.header, settings.organization_header)
    if isinstance(settings, PayloadSettings):
        return PayloadHeader(settings.header, memory, settings.status_header)
    return BearerToken(keys, memory, settings.header)
