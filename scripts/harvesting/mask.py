"""Text of which a share of the tokens is replaced by a mask token before the model reads it.

That, at random and with a share of the user's choice, is what arXiv 2604.06495 (Masked Regularization)
trains autoencoders on, against what tokens give because they are seen together. Ours, which what is public
of the paper does not settle: a token is drawn by itself, from the seed, its window's number and its
position, so that batches and interruptions change nothing; special tokens stay; the mask is the
tokenizer's mask token or one that the user names; and the rows of replaced tokens are left out, as those of
special tokens are, unless they are wanted.
"""

from harvesting import HarvestError

WORD = 2**64


def mask_token(tokenizer, name):
    """The id of the token of that name or text, or of the tokenizer's mask token if None."""
    if name is None:
        if tokenizer.mask_token_id is None:
            raise HarvestError(
                "--mask-share: this tokenizer has no mask token; --mask-token says which other one to take"
            )
        return tokenizer.mask_token_id
    known = tokenizer.get_vocab()
    ids = [known[name]] if name in known else tokenizer(name, add_special_tokens=False)["input_ids"]
    if len(ids) != 1 or (ids[0] == tokenizer.unk_token_id and name != tokenizer.unk_token):
        raise HarvestError(f"--mask-token {name!r}: is no token of this tokenizer's")
    return ids[0]


class Mask:
    """Which tokens of windows are replaced, each with probability `share`."""

    def __init__(self, share, token, special, seed):
        self.share, self.token, self.special, self.seed = share, token, special, (seed or 0) % WORD

    def replaces(self, ids, number):
        """Of the ids [length] of the window of that number, which are replaced."""
        import numpy

        # The bits of a counter, which no version of NumPy may change, unlike what is made of them.
        bits = numpy.random.Philox(key=self.seed, counter=[0, 0, number, 0]).random_raw(len(ids))
        return (bits < numpy.uint64(int(self.share * WORD))) & ~numpy.isin(ids, self.special)
