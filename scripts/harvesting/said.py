"""What harvest.py says of what it has read and left out."""

from harvesting.program import say
from harvesting.store import LARGE


def of_each(layers, lines_of):
    """What is to be said of each layer and site, once if it is the same of all."""
    said = {layer.harvester.label: list(filter(None, lines_of(layer))) for layer in layers}
    if len(set(map(tuple, said.values()))) == 1:
        say(*said.popitem()[1])
        return
    for label, lines in said.items():
        say(*(f"{label}: {line}" for line in lines))


def massive_starts(windows, label, batch, values, median):
    """A warning, once the first batch is run, of rows at the beginnings of windows without a token of
    their own there."""
    if windows.before:
        return None
    first = batch.rows[batch.rows % windows.context == 0]
    norms = values.flatten(0, 1)[first].double().norm(dim=1)
    large = int((norms > LARGE * median).sum())
    if not large:
        return None
    cure = "--skip-positions 1 leaves it out"
    if not windows.texts.are_ids:
        cure = "--bos puts a token of its own there, which is not stored"
    return (
        f"{label}: warning: {large} of the first {len(norms)} windows begin with a norm above {LARGE} times "
        f"the median, {median:,.4g}, up to {norms.max():,.4g}: this model marks the first position of a text, "
        f"whatever stands there. {cure}"
    )


def what_is_left_out(arguments, windows, choice, layer):
    """Of the text, once the last window has been run."""
    special, writer = layer.special.total(), layer.writer
    names = windows.tokenizer.convert_ids_to_tokens
    if special and choice.dropped:
        most = ", ".join(f"{names(token)} {count:,}" for token, count in layer.special.most_common(5))
        yield (
            f"left out: {special:,} of {layer.tokens:,} tokens in windows, which are special or unknown "
            f"({100 * special / layer.tokens:.2g} %): {most}"
        )
    if layer.skipped:
        yield (
            f"left out: {layer.skipped:,} of {layer.tokens:,} tokens in windows, which are at the first "
            f"{choice.skip} positions"
        )
    if choice.mask:
        yield (
            f"masked: {layer.masked:,} of {layer.tokens:,} tokens in windows "
            f"({100 * layer.masked / layer.tokens:.3g} %) became {names(choice.mask.token)}"
            f"{', whose rows are left out' if choice.hidden else ''}"
        )
    if arguments.max_norm_ratio is not None:
        yield (
            f"left out: {writer.dropped:,} rows, whose norm is above {arguments.max_norm_ratio:g} times "
            f"the median of the first batch, {writer.median:,.4g}"
        )
    limit = f"for --tokens {arguments.tokens}"
    if windows.count is None:
        yield windows.left_out(layer.tally)
        if not layer.tally.whole:
            yield f"left out: what follows the first {layer.windows:,} windows, {limit}"
    elif layer.windows < windows.count:
        yield f"left out: {windows.count - layer.windows:,} of {windows.count:,} windows, {limit}"


def large_rows(windows, layer):
    """That are in a store, since a few of them can be most of its variance."""
    writer = layer.writer
    if writer.state["large"]:
        share = f"{writer.state['large']:,} of {writer.tokens:,} rows"
        norms = f"the median of the first batch, {writer.median:,.4g}, up to {writer.state['largest']:,.4g}"
        bos = "" if windows.before else "--bos puts a token of its own at first positions; "
        if windows.texts.are_ids:
            bos = ""
        yield (
            f"warning: {share} have a norm above {LARGE} times {norms}: {bos}"
            f"--max-norm-ratio {LARGE} leaves such rows out"
        )
