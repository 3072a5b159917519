"""The service on the wire: what proxies ask, what operators read."""
