"""The steps that bring a database from one version to the next; `core.jobs.database` runs them when it opens one."""
