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
from pathlib import Path

from harvesting import HarvestError, labelled, letters
from harvesting import model as models
from harvesting.program import Progress, run_program, say
from harvesting.windows import whole_frame


def parse_arguments(argv):
    parser = argparse.ArgumentParser(
        prog="first_letter.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_argument_group("what is read").add_argument
    models.add_options(what)
    what("--template", default=letters.TEMPLATE, help='of a line: "%(default)s"')
    what("--examples", type=int, default=letters.EXAMPLES, help="solved words (%(default)s)")
    what("--limit", type=int, help="use this many words, drawn by the seed (default: all)")
    what("--seed", type=int, default=0, help="of split and examples (%(default)s)")
    what("--out", type=Path, required=True, help="file to create: NAME.safetensors")
    models.add_how_options(parser.add_argument_group("how").add_argument, "prompts", dtype="f32")

    arguments = parser.parse_args(argv)
    rest = arguments.template.replace("{word}", "", 1)
    if "{word}" not in arguments.template or "{" in rest or "}" in rest:
        parser.error(f"--template needs {{word}} once and no other brace, got {arguments.template!r}")
    if arguments.examples < 0:
        parser.error(f"--examples must be at least 0, got {arguments.examples}")
    for name in ("batch", "limit"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            parser.error(f"--{name} must be at least 1, got {value}")
    if arguments.out.suffix != ".safetensors":
        parser.error(f"--out must end in .safetensors, got {arguments.out}")
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
    prompts = letters.Prompts(arguments.template, arguments.examples, arguments.seed)
    train, test = prompts.split(words)
    made = {"train_x": prompts(train, train), "test_x": prompts(test, test)}
    if arguments.examples:
        made["score_x"] = prompts(test, words)
    kept = letters_kept((train, test))
    for tensor, those in made.items():
        made[tensor] = [prompt for prompt in those if letters.label(prompt.word) in kept]
    return made, kept


def split_of(prompts, kept):
    words = [prompt.word for prompt in prompts]
    return labelled.Split([kept.index(letters.label(w)) for w in words], [w.text for w in words])


def describe_source(arguments, harvester, reader):
    names = reader.tokenizer.convert_ids_to_tokens
    return {"script": "first_letter.py"} | models.describe(arguments, harvester) | {
        "template": arguments.template,
        "examples": arguments.examples,
        "position": reader.position,
        "special_tokens": [names(part) for part in reader.frame],
        "limit": arguments.limit,
        "seed": arguments.seed,
        "model_dtype": arguments.model_dtype,
    }  # fmt: skip


def write(file, made, harvester, reader, batch):
    done, total, progress = 0, sum(map(len, made.values())), Progress(0, "prompts")
    with file:
        for tensor, prompts in made.items():
            sequences = reader.sequences(prompts)
            for number, row in models.read_all(harvester, sequences, batch, at=reader.at):
                file.put(tensor, number, labelled.as_array(row[None], file.dtype))
                done += 1
                progress.show(done, done / total)
    progress.show(total, 1, last=True)


def run(arguments):
    with labelled.claimed(arguments.out):
        make(arguments)


def make(arguments):
    tokenizer, model = models.load_model(arguments)
    harvester = models.Harvester(model, arguments.layer, arguments.site, arguments.device)
    frame = whole_frame(tokenizer)
    reader = letters.Reader(tokenizer, frame, arguments.template, arguments.examples)
    made, kept = make_prompts(usable_words(reader, arguments), arguments)
    say(
        harvester.place,
        f"{len(made['train_x'])} training and {len(made['test_x'])} test words of "
        f"{len(kept)} letters, read at token {reader.at} of {made['test_x'][0].text.splitlines()[-1]!r}",
    )
    train, test = split_of(made["train_x"], kept), split_of(made["test_x"], kept)
    classes = [letters.LETTERS[letter] for letter in kept]
    width = models.text_config(model.config).hidden_size
    file = labelled.LabelledWriter(
        arguments.out, arguments.dtype, width, "first_letter", classes, train, test,
        score="score_x" in made, source=describe_source(arguments, harvester, reader))  # fmt: skip
    write(file, made, harvester, reader, arguments.batch)
    say(f"{arguments.out}: {len(classes)} letters")


def main(argv=None):
    return run_program("first_letter.py", run, parse_arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
