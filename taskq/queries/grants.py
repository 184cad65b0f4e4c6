"""What lets a role do one kind of work and nothing else."""

from taskq_sql import grants

GrantQueries = grants.Querier
