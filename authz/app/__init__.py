"""Settings, and the parts of a worker put together."""
