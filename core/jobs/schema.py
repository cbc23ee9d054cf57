"""The tables: runs, their points, and the measured numbers of each point. One schema for SQLite and PostgreSQL."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

REVISION = "0002"
"""The migration that makes the tables as they stand here; a database at any other is migrated when opened."""

VERSION_TABLE = "rankscope_version"
"""Holds the migration a database is at. Not Alembic's own name, which another tool in that database may use."""

metadata = MetaData()

runs = Table(
    "runs",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("kind", String(64), nullable=False),
    Column("title", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("digest", String(128), nullable=False),
    Column("spec", JSON, nullable=False),
    Column("state", String(16), nullable=False),
    Column("error", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("created", Double, nullable=False),  # unix time, s
    Column("updated", Double, nullable=False),  # unix time, s
    Column("provenance", JSON(none_as_null=True)),
    Column("revision", String(64), nullable=False),
    Column("owner", String(200), nullable=False),
    Column("lease", Double, nullable=False),  # unix time, s
    Index("ix_runs_created", "created"),
)

points = Table(
    "points",
    metadata,
    Column("id", Integer, primary_key=True),  # the order of addition
    Column("run", String(64), nullable=False),
    Column("key", String(200), nullable=False),
    Column("request", JSON, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("result", JSON(none_as_null=True)),
    Column("error", Text, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("worker", Text, nullable=False),
    Column("progress", JSON(none_as_null=True)),
    UniqueConstraint("run", "key", name="uq_points_run_key"),
    ForeignKeyConstraint(["run"], ["runs.id"], name="fk_points_run"),
    Index("ix_points_run_state", "run", "state"),  # counts read this and not the rows
)

measurements = Table(
    "measurements",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run", String(64), nullable=False),
    Column("point", String(200), nullable=False),
    Column("name", String(100), nullable=False),
    Column("what", Text, nullable=False),
    Column("value", Double),  # SQLite stores NaN as NULL
    Column("spread", Double),
    Column("n", BigInteger, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("date", String(32), nullable=False),
    Column("versions", JSON, nullable=False),
    Column("device", Text, nullable=False),
    Column("threads", Integer, nullable=False),
    Column("conditions", Text, nullable=False),
    Column("revision", String(64), nullable=False),
    UniqueConstraint("run", "point", "name", name="uq_measurements_run_point_name"),
    ForeignKeyConstraint(["run", "point"], ["points.run", "points.key"], name="fk_measurements_point"),
)
