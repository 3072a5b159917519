"""Several processes that answer as one: a supervisor, its workers, and one that keeps the CRLs for all.

The supervisor opens the sockets, forks the others, and does nothing else: no thread and no event loop runs in it, so
that a fork is safe, and quick.
"""
