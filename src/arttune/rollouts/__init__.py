"""Rollouts: completions sampled with the current painting, from inference servers that nobody has to touch."""

from arttune.rollouts.pool import NoServer, Pool
from arttune.rollouts.rollouts import Rollouts
from arttune.rollouts.server import Asked, Reply, Sampling, Server

__all__ = ["Asked", "NoServer", "Pool", "Reply", "Rollouts", "Sampling", "Server"]
