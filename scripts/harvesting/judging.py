"""What a judge sees of a store's rows: a row's text in its context, as a unit vector.

A row's excerpt is its token and the tokens around it, decoded. Its vector is of two halves, the mean over the
pieces of the token and the mean over all pieces, each of norm 1, together of norm 1.
"""

from typing import NamedTuple

from harvesting import HarvestError
from harvesting import model as models
from harvesting.program import Progress
from harvesting.windows import special_frame, unknown_token

# --- rows --------------------------------------------------------------------------------------


def mixed(values):
    """A bijection of 64-bit integers that looks random (the finaliser of SplitMix64)."""
    import numpy

    u64 = numpy.uint64
    values = (values ^ (values >> u64(30))) * u64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> u64(27))) * u64(0x94D049BB133111EB)
    return values ^ (values >> u64(31))


def choose(context, count, most, seed):
    """At most `count` rows, ascending, and at most `most` of one context: those of the smallest hashes."""
    import numpy

    start = mixed(numpy.array([(seed + 1) % 2**64], numpy.uint64))
    key = mixed(start + numpy.arange(len(context), dtype=numpy.uint64))
    order = numpy.lexsort((key, context))
    ordered = context[order]
    starts = numpy.flatnonzero(numpy.diff(ordered, prepend=ordered[0] - 1 if len(ordered) else 0))
    rank = numpy.arange(len(order)) - numpy.repeat(starts, numpy.diff(starts, append=len(order)))
    kept = order[rank < most]
    return numpy.sort(kept[numpy.argsort(key[kept])][:count])


def ends_of_contexts(store):
    """For each row, the first row of its context and the one after its last. HarvestError if a context's rows do not
    lie together."""
    import numpy

    rows = len(store.context)
    starts = numpy.concatenate([[0], numpy.flatnonzero(numpy.diff(store.context)) + 1])
    names = store.context[starts]
    if len(numpy.unique(names)) < len(names):
        raise HarvestError(f"{store.folder}: rows of a context do not lie together, so that nobody knows its text")
    ends = numpy.concatenate([starts[1:], [rows]])
    return numpy.repeat(starts, ends - starts), numpy.repeat(ends, ends - starts)


# --- text --------------------------------------------------------------------------------------


class Excerpt(NamedTuple):
    text: str
    begin: int  # the characters of the token, of which the first and last may be its neighbours' too
    end: int


def excerpt(vocabulary, ids, at):
    """Of tokens in a row, of which the one at `at` is marked. Bytes that are no whole character are U+FFFD."""
    parts = [vocabulary.bytes_of(token) for token in ids]
    first = sum(map(len, parts[:at]))
    last = first + len(parts[at])
    text, reached, begin, end = "", 0, None, 0
    for char in b"".join(parts).decode("utf-8", "surrogateescape"):
        following = reached + len(char.encode("utf-8", "surrogateescape"))
        if begin is None and following > first:
            begin = len(text)
        if reached < last:
            end = len(text) + 1
        text += "\ufffd" if "\udc80" <= char <= "\udcff" else char
        reached = following
    begin = len(text) if begin is None else begin
    return Excerpt(text, begin, max(begin, end) if last > first else begin)


def excerpts(store, rows, window):
    """Of each of the rows, with `window` tokens on each side as far as its context reaches."""
    starts, ends = ends_of_contexts(store)
    for row in rows.tolist():
        begin, end = max(int(starts[row]), row - window), min(int(ends[row]), row + window + 1)
        yield excerpt(store.vocabulary, store.tokens[begin:end].tolist(), row - begin)


def blinded(given, mask):
    """With `mask` in place of the token; blanks at its ends stay."""
    marked = given.text[given.begin : given.end]
    before = marked[: len(marked) - len(marked.lstrip())]
    after = marked[len(marked.rstrip()) :] if marked.strip() else ""
    return f"{given.text[: given.begin]}{before}{mask}{after}{given.text[given.end :]}"


# --- the judge ---------------------------------------------------------------------------------


class Pieces(NamedTuple):
    ids: list  # with the special tokens around a text
    marked: list  # which of them are of the token
    whole: range  # which are of the text; all there are if it has none


class Judge:
    """A model of which the last layer's vectors are means over pieces of text."""

    def __init__(self, tokenizer, model, device, batch):
        self.tokenizer, self.model, self.device, self.batch = tokenizer, model, device, batch
        if not tokenizer.is_fast:
            raise HarvestError("--model: its tokenizer does not say which piece is from which characters")
        self.before, self.after = special_frame(tokenizer)
        longest = getattr(models.text_config(model.config), "max_position_embeddings", None)
        self.longest = min(longest or tokenizer.model_max_length, tokenizer.model_max_length)
        self.known = models.vocabulary_size(model)

    @property
    def width(self):
        return models.text_config(self.model.config).hidden_size

    def mask(self):
        """What stands for a token that is not to be seen."""
        mask = self.tokenizer.mask_token or unknown_token(self.tokenizer)
        if mask is None:
            raise HarvestError("--blind: the judge has neither a mask nor an unknown token")
        return mask

    def pieces(self, given):
        encoded = self.tokenizer(
            given.text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        ids = [*self.before, *encoded["input_ids"], *self.after]
        if not ids or len(ids) > self.longest:
            raise HarvestError(
                f"an excerpt has {len(ids)} pieces, the judge takes 1 to {self.longest}; another --window would do"
            )
        if self.known and max(ids) >= self.known:
            raise HarvestError(f"--model: the tokenizer makes token {max(ids)}, the model knows {self.known}, from 0")
        begin = len(self.before)
        whole = range(begin, begin + len(encoded["input_ids"])) or range(len(ids))
        spans = enumerate(encoded["offset_mapping"], begin)
        marked = [i for i, (first, last) in spans if max(first, given.begin) < min(last, given.end)]
        return Pieces(ids, marked, whole)

    def means(self, pieces):
        """Numbers of pieces, and of each what is marked and the whole, [n, 2, width] in f64; the whole twice where
        nothing is marked."""
        import torch

        for numbers in models.batches_of([one.ids for one in pieces], self.batch):
            ids = torch.tensor([pieces[number].ids for number in numbers])
            with torch.no_grad():
                vectors = self.model(input_ids=ids.to(self.device))[0].double().cpu()
            both = [
                torch.stack([row[one.marked or list(one.whole)].mean(0), row[list(one.whole)].mean(0)])
                for row, one in zip(vectors, (pieces[number] for number in numbers))
            ]
            yield numbers, torch.stack(both)

    def vectors(self, given, parts, what):
        """Of each excerpt the unit vector of its `parts`, 0 for what is marked and 1 for the whole, side by side:
        [N, width * parts] in f32."""
        import torch

        pieces = [self.pieces(one) for one in given]
        out = torch.zeros(len(pieces), self.width * len(parts))
        progress, done = Progress(0, what), 0
        for numbers, means in self.means(pieces):
            norms = means.norm(dim=2, keepdim=True)
            if not (norms > 0).all() or not torch.isfinite(norms).all():
                raise HarvestError("--model: gives a vector that is zero or not finite")
            unit = (means / norms)[:, parts] / len(parts) ** 0.5
            out[numbers] = unit.flatten(1).float()
            done += len(numbers)
            progress.show(done, done / len(pieces), last=done == len(pieces))
        return out, sum(not one.marked for one in pieces)
