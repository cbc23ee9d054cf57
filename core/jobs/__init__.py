"""Runs that outlive a page: their records, their database, the engine that works them off, the driver of each."""
