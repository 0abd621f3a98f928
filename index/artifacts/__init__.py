"""What workers leave for a store that they never open: batches of SST files, and taking them in."""

from __future__ import annotations
