"""Windows to what the model reads and to the rows that are stored, with what becomes of the others."""

from collections import Counter
from typing import NamedTuple


class Fate(NamedTuple):
    """What becomes of a window's tokens of text, of which an earlier window has not had any."""

    tokens: int
    special: Counter  # that are left out, by id
    skipped: int  # that are left out for their position
    masked: int  # that are replaced


class Batch(NamedTuple):
    ids: object  # [n, context] i64, as the model reads them
    rows: object  # [r] i64: those of n * context that can be stored
    fates: list  # of each window


class Rows:
    """Left out are ids in `dropped`, positions before `skip`, and what `mask` replaces if `hidden`."""

    def __init__(self, windows, dropped, skip=0, mask=None, hidden=True):
        self.begin, self.inner = len(windows.before), windows.inner
        self.dropped, self.skip, self.mask, self.hidden = dropped, skip, mask, hidden

    def __call__(self, batch, number):
        """Of windows, the first of which is the text's window of that number."""
        import numpy
        import torch

        parts = [self.one(window, number + row) for row, window in enumerate(batch)]
        ids, kept = (torch.from_numpy(numpy.stack([part[i] for part in parts])) for i in (0, 1))
        return Batch(ids.long(), kept.flatten().nonzero()[:, 0], [part[2] for part in parts])

    def one(self, window, number):
        """Ids, which of them are stored, and the fate of the text in a window."""
        import numpy

        ids, place = window.ids, numpy.arange(len(window.ids))
        special, skipped = numpy.isin(ids, self.dropped), place < self.skip
        masked = numpy.zeros(len(ids), dtype=bool)
        if self.mask:
            masked = self.mask.replaces(ids, number)
            ids = numpy.where(masked, numpy.int32(self.mask.token), ids)
        kept = ~special & ~skipped & ~(masked & self.hidden)
        kept[window.seen] = False
        fresh = (place >= max(self.begin, window.seen.stop)) & (place < self.begin + self.inner)
        fate = Fate(
            int(fresh.sum()),
            Counter(ids[fresh & special].tolist()),
            int((fresh & skipped & ~special).sum()),
            int((fresh & masked).sum()),
        )
        return ids, kept, fate
