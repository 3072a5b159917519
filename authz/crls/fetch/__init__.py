"""CRLs over HTTP: what may be asked, and how."""
