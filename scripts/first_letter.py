#!/usr/bin/env python3
"""Labelled activations of words and their first letters, for `sae eval --suite absorption`.

The words are the tokens of letters alone; four fifths of them train the probes. Each is read in a prompt
of ten solved words, at its own token, with the prompts, split and position of SAEBench 0.6.0:

    <bos>
    wind has the first letter: W
    ... nine more ...
    tree has the first letter:
    ^ here

The test words are read once more with examples from all words: score_x, on which absorption is measured.
Several layers are read in one pass, each into a file of its own:

    --layer 5 8 17 --out activations/smollm2-135m-layer{layer}-letters.safetensors

The pass ends at the word where that changes nothing, which is where a model attends to earlier tokens
alone; this is tried. What all prompts of a tensor begin with is run once, if it is 16 tokens or more and the
model's keys and values give the same but for rounding; this is tried too. SAEBench's prompts have examples
of their own each and begin with two tokens in common. With --same-examples they have theirs in common, ten
training words for train_x and test_x and ten others for score_x, which are not read themselves: a small
part of the time, and not SAEBench's prompts.
Interrupted or killed, the same command goes on where it was.

Unlike SAEBench's, the draws have a seed, and the vocabulary is sorted by token id before them. Words that
the tokenizer cuts up in the prompt are left out, since SAEBench refuses prompts of unequal lengths.

    scripts/first_letter.py --model google/gemma-2-2b --layer 12 --device cuda --out letters.safetensors
    sae eval runs/topk --data letters.safetensors --suite absorption

SAEBench reads resid_post, whatever the site of the autoencoder. It is for models that predict the next
token. For encoders (BERT, MiniLM) a prompt of examples means little: read the bare word between the
tokenizer's special tokens, [CLS] word [SEP], or the word in a sentence of its own. Read once more they
would be the same, so the file has no score_x then, and absorption is measured on test_x.

    scripts/first_letter.py --model BERT --layer 1 --template "{word}" --examples 0 --out letters.safetensors
    scripts/first_letter.py --model BERT --layer 1 --template "the word {word} ." --examples 0 --out ...

A second process with the same --out is refused and names the first: on the same machine, and between
machines as far as their shared file system has locks (NFS has, unless it is mounted with nolock).
"""

import argparse
import random
import sys
from contextlib import ExitStack
from pathlib import Path

from harvesting import HarvestError, labelled, letters
from harvesting import arguments as shared
from harvesting import model as models
from harvesting.prefix import shared_prefix
from harvesting.program import Progress, run_program, say
from harvesting.windows import whole_frame


def parse_arguments(argv):
    parser = argparse.ArgumentParser(
        prog="first_letter.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_argument_group("what is read").add_argument
    models.add_options(what, several=True)
    what("--template", default=letters.TEMPLATE, help='of a line: "%(default)s"')
    what("--examples", type=int, default=letters.EXAMPLES, help="solved words (%(default)s)")
    what(
        "--same-examples",
        action="store_true",
        help="the same ones in all prompts, which makes them short to run; not as SAEBench has them",
    )
    what("--limit", type=int, help="use this many words, drawn by the seed (default: all)")
    what("--seed", type=int, default=0, help="of split and examples (%(default)s)")
    what(
        "--out",
        type=Path,
        required=True,
        help="file to create: NAME.safetensors; {layer} and {site} in it are the layer and the site",
    )
    models.add_how_options(parser.add_argument_group("how").add_argument, "prompts", dtype="f32")

    arguments = parser.parse_args(argv)
    rest = arguments.template.replace("{word}", "", 1)
    if "{word}" not in arguments.template or "{" in rest or "}" in rest:
        parser.error(f"--template needs {{word}} once and no other brace, got {arguments.template!r}")
    if arguments.examples < 0:
        parser.error(f"--examples must be at least 0, got {arguments.examples}")
    if arguments.same_examples and not arguments.examples:
        parser.error("--same-examples means nothing with --examples 0")
    for name in ("batch", "limit", "threads"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            parser.error(f"--{name} must be at least 1, got {value}")
    if arguments.out.suffix != ".safetensors":
        parser.error(f"--out must end in .safetensors, got {arguments.out}")
    shared.check_places(parser, arguments, arguments.out)
    return arguments


def usable_words(reader, arguments):
    words, found = reader.words(), len(reader.found)
    if len(words) < found:
        say(f"left out: {found - len(words)} of {found} words, which are cut up in the prompt")
    if arguments.limit and arguments.limit < len(words):
        say(f"left out: {len(words) - arguments.limit} of {len(words)} words, for --limit {arguments.limit}")
        words = sorted(random.Random(f"limit {arguments.seed}").sample(words, arguments.limit))
    return words


def letters_kept(parts):
    """The letters that have words in both parts."""
    kept = sorted(set.intersection(*({letters.label(word) for word in part} for part in parts)))
    missing = [letter for number, letter in enumerate(letters.LETTERS) if number not in kept]
    if missing:
        count = sum(letters.label(word) not in kept for part in parts for word in part)
        say(f"left out: {' '.join(missing)}, which some part has no word for ({count} words)")
    if len(kept) < 2:
        raise HarvestError(f"{len(kept)} letters have words in both parts, at least 2 are needed")
    return kept


def make_prompts(words, arguments):
    """Prompts of each tensor, and the letters that are classes."""
    same = arguments.same_examples
    prompts = letters.Prompts(arguments.template, arguments.examples, arguments.seed, same)
    train, test = prompts.split(words)
    if same:
        pools = {"score_x": prompts.take(train)}
        pools["train_x"] = pools["test_x"] = prompts.take(train)
    else:
        pools = {"train_x": train, "test_x": test, "score_x": words}
    made = {"train_x": prompts(train, pools["train_x"]), "test_x": prompts(test, pools["test_x"])}
    if arguments.examples:
        made["score_x"] = prompts(test, pools["score_x"])
    kept = letters_kept((train, test))
    for tensor, those in made.items():
        made[tensor] = [prompt for prompt in those if letters.label(prompt.word) in kept]
    return made, kept


def split_of(prompts, kept):
    words = [prompt.word for prompt in prompts]
    return labelled.Split([kept.index(letters.label(w)) for w in words], [w.text for w in words])


def describe_source(arguments, harvester, reader):
    names = reader.tokenizer.convert_ids_to_tokens
    same = {"same_examples": True} if arguments.same_examples else {}
    return {"script": "first_letter.py"} | models.describe(arguments, harvester) | {
        "template": arguments.template,
        "examples": arguments.examples,
        "position": reader.position,
        "special_tokens": [names(part) for part in reader.frame],
        "limit": arguments.limit,
        "seed": arguments.seed,
        "model_dtype": arguments.model_dtype,
    } | same  # fmt: skip


def order_of(made, reader, batch):
    """All batches in the order in which they are run: tensor, its sequences, numbers of some of them."""
    for tensor, prompts in made.items():
        sequences = reader.sequences(prompts)
        for numbers in models.batches_of(sequences, batch):
            yield tensor, sequences, numbers


def cut_after_word(harvesters, reader, sequences, numbers):
    """How many tokens at the end of a prompt need not be run."""
    import torch

    ids = torch.tensor([sequences[number] for number in numbers[: models.CHECKED]])
    return -1 - reader.at if models.ignores_what_follows(harvesters, ids, reader.at) else 0


class Passes:
    """Reads prompts at their words: each up to there, and from the end of what they have in common."""

    def __init__(self, harvesters, reader):
        self.harvesters, self.reader = harvesters, reader
        self.cut, self.tensor, self.prefix = None, None, None

    def __call__(self, tensor, sequences, numbers):
        """Activations [n, D] of each harvester."""
        import torch

        if self.cut is None:
            self.cut = cut_after_word(self.harvesters, self.reader, sequences, numbers)
        if tensor != self.tensor:
            self.tensor = tensor
            self.prefix = shared_prefix(self.harvesters, sequences, self.reader.at)
            if self.prefix:
                say(f"{tensor}: the first {self.prefix.length} tokens of the prompts are run once")
        ids = {number: sequences[number][: len(sequences[number]) - self.cut] for number in numbers}
        at = self.reader.at + self.cut
        if self.prefix is None:
            return models.read_batch(self.harvesters, ids, numbers, at=at)
        rest = self.prefix(torch.tensor([ids[number] for number in numbers]))
        return [values[:, at].cpu() for values in rest]


def write(files, made, harvesters, reader, batch):
    """The activations of each harvester into its file. A file that goes on is at a batch's end."""
    last = min(files, key=lambda file: file.position)
    done, total, passes = last.position, sum(map(len, made.values())), Passes(harvesters, reader)
    for file in files:
        file.done = dict(last.done)  # what another has more is written once more
    before, progress = 0, Progress(done, "prompts")
    for tensor, sequences, numbers in order_of(made, reader, batch):
        before += len(numbers)
        if before <= done:
            continue
        for file, values in zip(files, passes(tensor, sequences, numbers)):
            for number, row in zip(numbers, labelled.as_array(values, file.dtype)):
                file.put(tensor, number, row[None])
        for file in files:
            file.reached(before)
        progress.show(before, before / total)
    progress.show(total, 1, last=True)


def run(arguments):
    targets = {place: shared.out_of(arguments.out, *place) for place in shared.places_of(arguments)}
    there = {place: target for place, target in targets.items() if target.exists()}
    if len(there) == len(targets):
        there = {}  # nothing is left to do, which is refused
    with ExitStack() as claims:
        for place, target in targets.items():
            if place not in there:
                claims.enter_context(labelled.claimed(target))
        make(arguments, targets, there)


def make(arguments, targets, there):
    tokenizer, model = models.load_model(arguments)
    harvesters = {place: models.Harvester(model, *place, arguments.device) for place in targets}
    frame = whole_frame(tokenizer)
    reader = letters.Reader(tokenizer, frame, arguments.template, arguments.examples)
    for place, target in there.items():
        labelled.expect_source(target, describe_source(arguments, harvesters.pop(place), reader))
        say(f"{target}: is there already")
    made, kept = make_prompts(usable_words(reader, arguments), arguments)
    say(
        *(harvester.place for harvester in harvesters.values()),
        f"{len(made['train_x'])} training and {len(made['test_x'])} test words of "
        f"{len(kept)} letters, read at token {reader.at} of {made['test_x'][0].text.splitlines()[-1]!r}",
    )
    train, test = split_of(made["train_x"], kept), split_of(made["test_x"], kept)
    classes = [letters.LETTERS[letter] for letter in kept]
    recipe = {"device": arguments.device, "batch": arguments.batch}
    with ExitStack() as stack:
        files = [
            stack.enter_context(labelled.LabelledWriter(
                targets[place], arguments.dtype, harvester.width, "first_letter", classes, train, test,
                "score_x" in made, describe_source(arguments, harvester, reader), recipe))
            for place, harvester in harvesters.items()
        ]  # fmt: skip
        going_on = min(file.position for file in files)
        if going_on:
            say(f"going on after {going_on:,} prompts")
        write(files, made, list(harvesters.values()), reader, arguments.batch)
    for place in harvesters:
        say(f"{targets[place]}: {len(classes)} letters")


def main(argv=None):
    return run_program("first_letter.py", run, parse_arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
