"""Where CRLs come from: fetched with care, accepted in order, kept across restarts, asked for again in time."""
