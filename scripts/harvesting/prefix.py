"""What sequences begin with in common, run once: keys and values of its tokens are kept, and the model reads
what follows them alone."""

import copy

from harvesting import HarvestError
from harvesting.model import check_layers, ignores_what_follows, read_layers

LEAST = 16  # tokens, below which a pass is as long as before
TOLERANCE = 1e-4  # of the norm of an activation, or 8 roundings of the model's type if that is more


def common_length(sequences, at):
    """How many ids all sequences begin with, up to the one that is read, at `at` from the end."""
    shortest = min(len(ids) + at for ids in sequences)
    for place in range(shortest):
        if len({ids[place] for ids in sequences}) > 1:
            return place
    return shortest


class Prefix:
    """Of sequences, for some harvesters of one model."""

    def __init__(self, harvesters, ids):
        import torch
        from transformers import DynamicCache

        self.harvesters, self.length = harvesters, len(ids)
        self.model = harvesters[0].model
        self.past = DynamicCache(config=self.model.config)
        self.read(torch.tensor([list(ids)]), self.past)

    def read(self, ids, past):
        points = [harvester.point for harvester in self.harvesters]
        return self.harvesters[0].watch(ids, points, stop=True, cache=past, use_cache=True)

    def __call__(self, ids):
        """Activations of each harvester at what follows the prefix in sequences [n, length]."""
        past = copy.deepcopy(self.past)
        past.batch_repeat_interleave(len(ids))
        return self.read(ids[:, self.length :], past)


def differences(ours, theirs):
    """The largest norm of a difference, in norms of what it should be."""
    return max(
        ((one - other).norm(dim=-1) / other.norm(dim=-1)).max().item() for one, other in zip(ours, theirs)
    )


def shared_prefix(harvesters, sequences, at):
    """The Prefix of the sequences, or None if it is short or the model has another result with it."""
    import torch

    length = common_length(sequences, at)
    if length < LEAST:
        return None
    some = torch.tensor([ids[: len(sequences[0])] for ids in sequences if len(ids) == len(sequences[0])][:4])
    check_layers(harvesters, some)
    if not ignores_what_follows(harvesters, some, length - some.shape[1] - 1):
        return None
    whole = [values[:, length:] for values in read_layers(harvesters, some)]
    try:
        prefix = Prefix(harvesters, sequences[0][:length])
        found = differences(prefix(some), whole)
    except (TypeError, ValueError, AttributeError, RuntimeError, HarvestError):
        return None  # a model that keeps no keys and values, or in a way of its own
    rounding = torch.finfo(next(prefix.model.parameters()).dtype).eps
    return prefix if found < max(TOLERANCE, 8 * rounding) else None
