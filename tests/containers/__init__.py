"""A package, so that its containers end with its last test: healthy ones cost a third of a core."""
