"""CRLs from the process that keeps them to the workers."""
