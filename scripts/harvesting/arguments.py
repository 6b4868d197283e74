"""Arguments that several scripts have: which text, cut into which windows."""

from pathlib import Path

from harvesting import text as texts


def add_text(parser):
    text = parser.add_argument_group("text").add_argument
    text(
        "--text",
        nargs="+",
        type=Path,
        help="UTF-8 files, or folders of them; which system's line ends they have changes nothing",
    )
    text("--dataset", help="in place of --text: name or folder of a data set, for datasets")
    text("--dataset-config", help="which of its configurations: wikitext-103-raw-v1")
    text("--dataset-split", default="train", help="default: %(default)s")
    text("--dataset-column", default="text", help="default: %(default)s")
    text("--dataset-streaming", action="store_true", help="download no more than is used")
    text(
        "--text-form",
        choices=sorted(texts.TEXT_FORMS),
        default="plain",
        help="wikitext: <unk> becomes the tokenizer's unknown token, if it has one that is nothing else, "
        "' @-@ ' becomes ' - '",
    )
    text(
        "--document",
        choices=["whole", "article", "line"],
        help="no window reaches from one document into the next: a whole file or row (default), "
        "an article of WikiText (default with --text-form wikitext; from a line ' = Title = ' to the "
        "next, or to the end of the file), a line",
    )
    text(
        "--pack",
        action="store_true",
        help="let windows run on over the ends of documents, with the end token between them; "
        "otherwise what is left at a document's end, and a document shorter than a window, is left out, "
        "and said to be",
    )


def add_windows(parser):
    """Returns what adds more to the group."""
    window = parser.add_argument_group("windows").add_argument
    window("--context", type=int, default=128, help="tokens a window, specials included (%(default)s)")
    window(
        "--bos",
        action="store_true",
        help="begin each window with the token for that even if the tokenizer adds none "
        "(GPT-2, Pythia)",
    )
    return window


def out_of(out, layer):
    return Path(str(out).replace("{layer}", str(layer)))


def check_layers(parser, layers, out):
    """Ends with a message unless each layer has an --out of its own."""
    for layer in layers:
        if layer < 0:
            parser.error(f"--layer counts from 0, got {layer}")
    if len(set(layers)) < len(layers):
        parser.error(f"--layer names a block twice: {' '.join(map(str, layers))}")
    if len({out_of(out, layer) for layer in layers}) < len(layers):
        parser.error(f"--out needs {{layer}} in its name for {len(layers)} layers, got {out}")


def check(parser, arguments, at_least_one):
    """Ends with a message if what argparse cannot know is wrong."""
    for name in at_least_one:
        value = getattr(arguments, name)
        if value is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1, got {value}")
    if isinstance(arguments.layer, int) and arguments.layer < 0:
        parser.error(f"--layer counts from 0, got {arguments.layer}")
    if (arguments.text is None) == (arguments.dataset is None):
        parser.error("one of --text and --dataset is needed")
    if arguments.document is None:
        arguments.document = "article" if arguments.text_form == "wikitext" else "whole"
