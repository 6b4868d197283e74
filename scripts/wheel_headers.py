#!/usr/bin/env python3
"""C and C++ headers out of wheels of the package index, without the libraries: a wheel is a zip file, of which a server
sends any part. Headers of NCCL and CUDA are 20 MB, the wheels 1.1 GB."""

import argparse
import base64
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from pathlib import Path

BLOCK = 1 << 18


def fetch(url, first, last):
    return urllib.request.urlopen(urllib.request.Request(url, headers={"Range": f"bytes={first}-{last}"}))


class RemoteFile(io.RawIOBase):
    """A file of `size` bytes at `url`, of which what is read is fetched."""

    def __init__(self, url, size):
        self.url, self.size, self.at = url, size, 0

    def seekable(self):
        return True

    def readable(self):
        return True

    def tell(self):
        return self.at

    def seek(self, offset, whence=io.SEEK_SET):
        self.at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.size}[whence]
        return self.at

    def readinto(self, buffer):
        count = min(len(buffer), self.size - self.at)
        if count <= 0:
            return 0
        with fetch(self.url, self.at, self.at + count - 1) as answer:
            data = answer.read()
        buffer[: len(data)] = data
        self.at += len(data)
        return len(data)


def opened(url):
    with fetch(url, 0, 0) as answer:
        span = answer.headers.get("Content-Range")
        if span is not None:
            return io.BufferedReader(RemoteFile(url, int(span.rsplit("/", 1)[1])), BLOCK)
        whole = tempfile.TemporaryFile()  # the server sends nothing else
        shutil.copyfileobj(answer, whole)
        return whole


def wheels(requirements):
    """The addresses of the wheels that pip would install."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--dry-run", "--ignore-installed"]
    command += ["--no-deps", "--quiet", "--report", "-", "-r", requirements]
    report = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    return [package["download_info"]["url"] for package in json.loads(report)["install"]]


def recorded(wheel):
    """Digests of a wheel's files by its own list."""
    name = next(name for name in wheel.namelist() if name.endswith(".dist-info/RECORD"))
    rows = (row.rsplit(",", 2) for row in wheel.read(name).decode().splitlines())
    return {row[0]: row[1] for row in rows}


def extract(url, folder):
    wheel = zipfile.ZipFile(opened(url))
    digests = recorded(wheel)
    count = 0
    for name in wheel.namelist():
        inside = name.partition("/include/")[2]
        if not inside or name.endswith("/") or ".." in Path(inside).parts:
            continue
        data = wheel.read(name)
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        if digests.get(name) != f"sha256={digest}":
            raise OSError(f"{name} in {url}: damaged, it has not the digest that the wheel's RECORD names")
        (folder / inside).parent.mkdir(parents=True, exist_ok=True)
        (folder / inside).write_bytes(data)
        count += 1
    return count


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("requirements", help="file of packages, as pip reads it")
    parser.add_argument("folder", type=Path, help="where the headers go; it appears when they are complete")
    arguments = parser.parse_args()
    partial = arguments.folder.with_name(arguments.folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for url in wheels(arguments.requirements):
            print(f"{extract(url, partial)} headers of {url.rsplit('/', 1)[1].split('-')[0]}")
    except (OSError, subprocess.CalledProcessError, zipfile.BadZipFile) as error:
        sys.exit(f"{parser.prog}: {error}")
    shutil.copy(arguments.requirements, partial)  # what this was made for
    shutil.rmtree(arguments.folder, ignore_errors=True)
    partial.rename(arguments.folder)


if __name__ == "__main__":
    main()
