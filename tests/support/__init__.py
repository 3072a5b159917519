"""What the tests share: certificates and CRLs, worlds, processes, proxies, documents."""
