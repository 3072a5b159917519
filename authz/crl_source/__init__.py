"""Where CRLs come from: fetched with care, kept across restarts, asked for again in time."""
