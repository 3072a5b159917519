"""Images of large CRLs, as the keepers come and go: the next need not index them again."""

from __future__ import annotations

import os

from authz.supervision.control import Told


class Images(dict[bytes, int]):
    """Descriptors of sealed memory, by the SHA-256 of the CRL."""

    def take(self, told: Told) -> None:
        """What a keeper told: an image that is to be kept, or one that is needed no more; another descriptor is closed.

        Of an image whose descriptor was lost on the way nothing changes.
        """
        if "dropped" in told.what:
            self._give_back(bytes.fromhex(told.what["dropped"]))
        if told.descriptor is None:
            return
        if "image" not in told.what:
            os.close(told.descriptor)
            return
        sha256 = bytes.fromhex(told.what["image"])
        self._give_back(sha256)
        self[sha256] = told.descriptor

    def _give_back(self, sha256: bytes) -> None:
        image = self.pop(sha256, None)
        if image is not None:
            os.close(image)

    def close(self) -> None:
        """Give all of them back; also in a child that has no use for them."""
        for one in list(self):
            self._give_back(one)
