"""A publisher of CRLs and its subscriber, as in two processes."""

from __future__ import annotations

import socket

from authz.crls.indexing.shared_images import SharedImages
from authz.crls.share.publisher import Publisher
from authz.crls.share.subscriber import Subscriber
from authz.decision import Allow, Decision, Evidence
from authz.errors import NotLoaded, Refused
from authz.model import CheckRequest, Enforcement, User
from authz.pki import Certificate, VerifiedPath, verify_path
from authz.reasons import Reason
from authz.view import Listener
from support.certificates import Minted
from support.crl_world import ACME, GOOD, Time, World

REVOKED, UNKNOWN = Reason.CERTIFICATE_REVOKED, Reason.REVOCATION_UNKNOWN


class Pair:
    """A keeper and one that follows it, as in two processes: they share nothing but a pair of sockets, and time."""

    def __init__(self, scene: World) -> None:
        self.scene = scene
        self.images = SharedImages()
        self.moment: int | None = 0
        self.warnings: list[str] = []
        self.failures: list[BaseException] = []
        self.time = Time()
        self.publisher = self._publisher()
        self.subscriber = Subscriber(
            scene.rules,
            monotonic=self.time.monotonic,
            warn=self.warnings.append,
        )
        self.subscriber.failed_by = self.failures.append

    def _publisher(self) -> Publisher:
        return Publisher(
            self.scene.refresher,
            descriptor_of=self.images.descriptor,
            current=lambda: self.moment,
            warn=self.warnings.append,
        )

    async def join(self) -> None:
        """Channel them, and wait until everything was reported."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.publisher.attach(ours)
        self.subscriber.follow(theirs)
        await self.subscriber.started()
        await self.scene.until(lambda: self.subscriber.current)

    def verify(self, one: Minted) -> VerifiedPath:
        """What a check of the subscriber's process does. Raises `NotLoaded`, `Refused`."""
        parsed, mode_of = Certificate.parse(one.der), self.subscriber.mode_of(ACME)
        try:
            found = verify_path(
                parsed, [], self.scene.trust, self.subscriber.crls(), self.scene.time.at, mode_of=mode_of
            )
        except Refused as refusal:
            if refusal.reason is UNKNOWN:
                self.subscriber.request_crls(ACME, refusal.path)
            raise
        return found

    async def check(self, one: Minted) -> str:
        """The same, waiting for what is missing: the reason, or "good", or what was let pass."""
        for _ in range(9):
            try:
                found = self.verify(one)
            except NotLoaded as missing:
                await self.subscriber.load(missing.key)
            except Refused as refusal:
                return refusal.reason
            else:
                self.decided(found)
                return str(found.exemption or GOOD)
        raise AssertionError("a check that never ends")

    def decided(self, path: VerifiedPath) -> None:
        """The service of the subscriber's process tells of a decision."""
        evidence = Evidence(organization=ACME, path=path, leaf=path.leaf)
        user = User(1, ACME.id, "alice", Enforcement.OFF)
        decision: Decision = Allow(ACME, user, path.leaf.sha256, None, evidence)
        self.subscriber.decided(CheckRequest("id", "h", ()), Listener("d", ()), decision, 0.0)

    def held(self) -> list[bytes]:
        """SHA-256 of every CRL that the subscriber looks at."""
        return sorted(one.sha256 for one in self.subscriber.crls())

    async def close(self) -> None:
        """End both."""
        await self.subscriber.close()
        await self.publisher.close()
