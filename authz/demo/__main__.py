"""The demonstration's application alone, in a container: `python -m authz.demo 0.0.0.0 8080`."""

from __future__ import annotations

import signal
import sys

from authz.demo.application import Application


def main(address: str, port: str) -> None:
    """Answer until SIGTERM or SIGINT."""
    ends = {signal.SIGTERM, signal.SIGINT}
    # Blocked before any thread is made, so that they wait for sigwait.
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    application = Application(address, int(port))
    application.start()
    signal.sigwait(ends)
    application.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
