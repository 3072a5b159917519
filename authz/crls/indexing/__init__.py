"""How CRLs get into memory: large ones are indexed in a process of its own, and shared as sealed memory.

Imports nothing, because the process that indexes begins with this package.
"""
