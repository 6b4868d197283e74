"""Arguments that several scripts have: which text, cut into which windows."""

from pathlib import Path

from harvesting import text as texts
from harvesting.ids import options_of_text

CONTEXT = 128


def add_text(parser, ids=False):
    text = parser.add_argument_group("text").add_argument
    text(
        "--text",
        nargs="+",
        type=Path,
        help="UTF-8 files, or folders of them; which system's line ends they have changes nothing",
    )
    if ids:
        text(
            "--token-ids",
            nargs="+",
            type=Path,
            help="in place of --text: rows of token ids of this model's tokenizer, in files .npy, .pt, "
            ".safetensors, .jsonl, .parquet or .arrow (input_ids or tokens in what has names) or a folder that "
            "save_to_disk of datasets has made; they are cut into windows as they are, with the special "
            "tokens that are in them and no others",
        )
    text(
        "--dataset",
        help="in place of --text: name or folder of a data set, for datasets"
        + ("; a --dataset-column of lists holds ids" if ids else ""),
    )
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


def add_windows(parser, ids=False):
    """Returns what adds more to the group. Where ids may be read, the default of --context is theirs."""
    window = parser.add_argument_group("windows").add_argument
    window(
        "--context",
        type=int,
        default=None if ids else CONTEXT,
        help=f"tokens a window, specials included ({CONTEXT}"
        + ("; of ids, the length of the first row)" if ids else ")"),
    )
    window(
        "--bos",
        action="store_true",
        help="begin each window with the token for that even if the tokenizer adds none "
        "(GPT-2, Pythia)",
    )
    return window


def out_of(out, layer, site):
    return Path(str(out).replace("{layer}", str(layer)).replace("{site}", site))


def places_of(arguments):
    """Pairs of layer and site."""
    return [(layer, site) for layer in arguments.layer for site in arguments.site]


def check_places(parser, arguments, out):
    """Ends with a message unless each site of each layer has an --out of its own."""
    layers, sites = arguments.layer, arguments.site
    for layer in layers:
        if layer < 0:
            parser.error(f"--layer counts from 0, got {layer}")
    if len(set(layers)) < len(layers):
        parser.error(f"--layer names a block twice: {' '.join(map(str, layers))}")
    if len(set(sites)) < len(sites):
        parser.error(f"--site names a site twice: {' '.join(sites)}")
    for name, values in (("layer", layers), ("site", sites)):
        if len(values) > 1 and f"{{{name}}}" not in str(out):
            parser.error(f"--out needs {{{name}}} in its name for {len(values)} {name}s, got {out}")


def check(parser, arguments, at_least_one):
    """Ends with a message if what argparse cannot know is wrong."""
    for name in at_least_one:
        value = getattr(arguments, name)
        if value is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1, got {value}")
    if isinstance(arguments.layer, int) and arguments.layer < 0:
        parser.error(f"--layer counts from 0, got {arguments.layer}")
    ids = getattr(arguments, "token_ids", None)
    if sum(given is not None for given in (arguments.text, arguments.dataset, ids)) != 1:
        more = "" if ids is None else "; --token-ids is in place of both"
        parser.error(f"one of --text and --dataset is needed{more}")
    for name, given in options_of_text(arguments) if ids else []:
        if given:
            parser.error(f"{name} means nothing with --token-ids")
    if arguments.document is None:
        arguments.document = "article" if arguments.text_form == "wikitext" else "whole"
