"""Images of large CRLs, which the supervisor keeps from one CRL manager to the next, so that none is indexed twice."""

from __future__ import annotations

import os

from authz.supervision.control import ControlMessage


class InheritedImages(dict[bytes, int]):
    """Descriptors of sealed memory, by the SHA-256 of the CRL."""

    def receive(self, message: ControlMessage) -> None:
        """Take an image that is to be kept, or close one that is needed no more; any other descriptor is closed.

        A message whose descriptor was lost on the way changes nothing.
        """
        if "dropped" in message.content:
            self._close_one(bytes.fromhex(message.content["dropped"]))
        if message.descriptor is None:
            return
        if "image" not in message.content:
            os.close(message.descriptor)
            return
        sha256 = bytes.fromhex(message.content["image"])
        self._close_one(sha256)
        self[sha256] = message.descriptor

    def _close_one(self, sha256: bytes) -> None:
        image = self.pop(sha256, None)
        if image is not None:
            os.close(image)

    def close(self) -> None:
        """Close all of them; also in a child that has no use for them."""
        for sha256 in list(self):
            self._close_one(sha256)
