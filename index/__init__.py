"""The pure core: trace formats, parse kernels, tiers, store layout, reconcile, queries.

No asyncio, no sockets, no clock of its own: what time it is and what changed is told from outside.
"""
