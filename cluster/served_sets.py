"""The tier sets of traces as a daemon answers them."""

from __future__ import annotations

from collections import defaultdict

import msgspec

from dftindexd.client.results import Answer
from dftindexd.index.model import FileStamp, TierConfig, TraceRecord
from dftindexd.index.tier_sets import Sets

__all__ = ("served_sets",)


def served_sets(answer: Answer) -> dict[bytes, Sets]:
    """Return the sets by the name of their trace; what only a store needs is not in them."""
    configs: dict[str, TierConfig] = {}
    sets: defaultdict[bytes, Sets] = defaultdict(tuple)
    for row in answer.to_pylist():
        text = row["tiers"]
        if text not in configs:
            configs[text] = msgspec.json.decode(text, type=TierConfig)
        sets[row["name"]] += (
            TraceRecord(
                file_id=row["file_id"],
                path=row["name"],
                version=row["version"],
                generation=row["generation"],
                stamp=FileStamp(row["ino"], row["size"], row["mtime_ns"], row["ctime_ns"]),
                tiers=configs[text],
                quarantined=row["quarantined"],
            ),
        )
    return dict(sets)
