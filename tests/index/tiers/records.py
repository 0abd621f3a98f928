"""Records made by hand for the tests of the per-chunk tiers."""

from __future__ import annotations

from dftindexd.index.model import TraceFacts
from dftindexd.index.trace.columns import Interner
from dftindexd.index.trace.decode import BlockDecoder, DecodedBlock
from dftindexd.index.trace.facts import FactsCollector
from dftindexd.index.trace.lines import Lines
from dftindexd.index.trace.names import NameCollector


class Blocks:
    """Decodes JSON lines into blocks that share one interner."""

    def __init__(self, arguments: tuple[str, ...] = ()) -> None:
        self.texts = Interner()
        facts, names = FactsCollector(TraceFacts()), NameCollector()
        self._decoder = BlockDecoder(self.texts, facts, names, arguments)
        self._line = 0

    def decode(self, *records: str) -> DecodedBlock:
        """Return the block of the next lines."""
        text = "".join(record + "\n" for record in records).encode()
        block = self._decoder.decode(Lines(text, 0, self._line))
        self._line += len(records)
        return block


def record(name: str, *, cat: str = "POSIX", pid: int = 1, ts: int = 10, dur: int = 2) -> str:
    """Return the line of a complete event."""
    return (
        f'{{"name":"{name}","cat":"{cat}","pid":{pid},"tid":{pid + 1},"ts":{ts},"dur":{dur},'
        f'"ph":"X","args":{{"hhash":"aa","fhash":"f{name}"}}}}'
    )


def metadata(kind: str, name: str, value: str) -> str:
    """Return a metadata line."""
    return (
        f'{{"name":"{kind}","cat":"dftracer","pid":77,"tid":78,"ph":"M",'
        f'"args":{{"hhash":"aa","name":"{name}","value":"{value}"}}}}'
    )
