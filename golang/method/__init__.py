"""The method: trunk, attention, heads, prototypes, Sinkhorn, queues, losses."""
