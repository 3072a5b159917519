"""Live probes over real TLS: what a client could try at a proxy, and whether it gets through."""
