"""A package, so that its stages end with its last test: ten that wait cost a tenth of a core."""
