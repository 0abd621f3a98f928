"""Indexing by many machines: shares of the work, artifacts of it, and one that takes them in.

Workers parse whole traces or slices of one, and write what they found as files; a coordinator, the
only one that opens the store, ingests them. Whoever uses it says how tasks reach the workers.
"""

from __future__ import annotations
