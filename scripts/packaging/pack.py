#!/usr/bin/env python3
"""Packs a stripped `sae` as a wheel: py3-none-manylinux_X_Y_MACHINE, the same bytes from the same binary.

    scripts/packaging/pack.py build-wheel/stripped/sae --version 0.1.0 --torch 2.11.0 --out dist

The platform tag is the oldest glibc that has all symbol versions that the binary asks for, and the oldest that
comes with such a libstdc++. A binary that needs other libraries than a system and PyTorch's package have, or that
looks for PyTorch elsewhere than beside itself, is refused.
"""

import argparse
import base64
import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
NAME, PACKAGE = "sae-cpp", "sae_cpp"
SUMMARY = "Train sparse autoencoders on model activations: the command sae, one native binary on LibTorch"
RUNPATH = "$ORIGIN/../torch/lib"
MOST_BYTES = 5_000_000
EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip file can name
OF_TORCH = re.compile(r"lib(torch_cpu|c10|gomp[-\w]*)\.so(\.\d+)?")
OF_THE_SYSTEM = re.compile(r"(lib(stdc\+\+|gcc_s|m|c|dl|rt|pthread|z)|ld-linux-[-\w]+)\.so\.\d+")
MACHINES = {"Advanced Micro Devices X86-64": "x86_64", "AArch64": "aarch64"}
# The oldest glibc of a system with such a libstdc++: Ubuntu 22.04 and Debian 12, 23.10, 24.04 and Debian 13.
GLIBC_OF_GLIBCXX = {(3, 4, 30): (2, 35), (3, 4, 32): (2, 38), (3, 4, 33): (2, 39)}


class PackError(Exception):
    """What the user can put right; printed as one line."""


# --- the binary --------------------------------------------------------------------------------


class Binary(NamedTuple):
    machine: str  # "x86_64"
    loader: str  # "/lib64/ld-linux-x86-64.so.2"
    needed: list  # names of libraries
    runpath: str
    versions: dict  # {"GLIBC": (2, 35), ...}: the newest of each that it asks for


def read_binary(path):
    command = ["readelf", "--wide", "--file-header", "--program-headers", "--dynamic", "--version-info", path]
    try:
        done = subprocess.run(command, capture_output=True, text=True, env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"})
    except FileNotFoundError:
        raise PackError("readelf is missing; it is in the package binutils") from None
    machine = re.search(r"Machine:\s+(.*)", done.stdout)
    loader = re.search(r"program interpreter: (.*)\]", done.stdout)
    if done.returncode != 0 or not machine or not loader:
        raise PackError(f"{path}: not a program of this system, of which readelf could tell what it needs")
    if machine[1] not in MACHINES:
        raise PackError(f"{path}: for {machine[1]}; expected one of {', '.join(MACHINES)}")
    versions = {}
    for name, version in re.findall(r"Name: (GLIBC|GLIBCXX)_([\d.]+) ", done.stdout):
        number = tuple(map(int, version.split(".")))
        versions[name] = max(number, versions.get(name, number))
    runpath = re.search(r"\((?:RUNPATH|RPATH)\).*\[(.*)\]", done.stdout)
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", done.stdout)
    return Binary(MACHINES[machine[1]], loader[1], needed, runpath[1] if runpath else "", versions)


def check(binary, path):
    for library in binary.needed:
        if not OF_TORCH.fullmatch(library) and not OF_THE_SYSTEM.fullmatch(library):
            raise PackError(f"{path}: needs {library}, which neither every system nor PyTorch's package has")
    if binary.runpath != RUNPATH:
        raise PackError(f"{path}: looks for libraries in {binary.runpath or 'no folder'}, expected {RUNPATH}")


def dotted(version):
    return ".".join(map(str, version))


def platform_of(binary, path):
    """The tag of the systems that have what the binary asks for: "manylinux_2_35_x86_64"."""
    glibc = binary.versions.get("GLIBC", (2, 17))
    glibcxx = binary.versions.get("GLIBCXX", (3, 4))
    fitting = [system for newest, system in sorted(GLIBC_OF_GLIBCXX.items()) if glibcxx <= newest]
    if not fitting:
        raise PackError(
            f"{path}: needs a libstdc++ with GLIBCXX_{dotted(glibcxx)}, of which no system is known; "
            f"build it with an older compiler"
        )
    if binary.versions.get("GLIBCXX"):
        glibc = max(glibc, fitting[0])
    return f"manylinux_{glibc[0]}_{glibc[1]}_{binary.machine}"


# --- the wheel ---------------------------------------------------------------------------------


def metadata_of(version, series):
    return f"""\
Metadata-Version: 2.4
Name: {NAME}
Version: {version}
Summary: {SUMMARY}
Keywords: sparse autoencoder,interpretability,LibTorch
License-Expression: MIT
License-File: LICENSE
Classifier: Environment :: Console
Classifier: Operating System :: POSIX :: Linux
Classifier: Programming Language :: C++
Requires-Python: >=3.9
Requires-Dist: torch=={series}.*
Description-Content-Type: text/markdown

The command `sae` of sae.cpp: `sae train`, `sae eval`, `sae compare`, `sae convert` and more; `sae help` lists them.
It was linked with LibTorch {series}, which is that of PyTorch {series}, and uses no Python beside what starts it.
"""


def hash_of(data):
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest())
    return f"sha256={digest.decode().rstrip('=')}"


def contents_of(binary, data, version, series, platform, licence):
    """{name in the archive: (bytes, mode)}, less RECORD."""
    launcher = (HERE / "launcher.py").read_text(encoding="utf-8")
    launcher = launcher.replace("@LOADER@", binary.loader).replace("@TORCH@", f"{series}.*")
    info = f"{PACKAGE}-{version}.dist-info"
    wheel = f"Wheel-Version: 1.0\nGenerator: sae.cpp\nRoot-Is-Purelib: false\nTag: py3-none-{platform}\n"
    text = {
        f"{PACKAGE}/__init__.py": '"""The command `sae` as a package."""\n',
        f"{PACKAGE}/__main__.py": launcher,
        f"{info}/METADATA": metadata_of(version, series),
        f"{info}/WHEEL": wheel,
        f"{info}/entry_points.txt": f"[console_scripts]\nsae = {PACKAGE}.__main__:main\n",
        f"{info}/licenses/LICENSE": licence,
    }
    files = {name: (content.encode(), 0o644) for name, content in text.items()}
    return files | {f"{PACKAGE}/sae": (data, 0o755)}


def write_wheel(path, files, record):
    """RECORD comes last, as the format recommends."""
    lines = [f"{name},{hash_of(data)},{len(data)}\n" for name, (data, _) in sorted(files.items())]
    entries = [*sorted(files.items()), (record, ("".join([*lines, f"{record},,\n"]).encode(), 0o644))]
    temporary = path.with_name(path.name + ".tmp")
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, (data, mode) in entries:
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.compress_type, entry.create_system = zipfile.ZIP_DEFLATED, 3  # Unix, for the mode
            entry.external_attr = (0o100000 | mode) << 16
            archive.writestr(entry, data, compresslevel=9)
    size = temporary.stat().st_size
    if size > MOST_BYTES:
        temporary.unlink()
        raise PackError(
            f"{path}: would have {size:,} bytes, at most {MOST_BYTES:,} are allowed; is the binary stripped?"
        )
    temporary.replace(path)
    return size


def pack(arguments):
    """Path and size of the wheel."""
    binary = read_binary(arguments.binary)
    check(binary, arguments.binary)
    platform = platform_of(binary, arguments.binary)
    series = ".".join(arguments.torch.split(".")[:2])
    version = arguments.version if series == arguments.default_torch else f"{arguments.version}+torch{series}"
    licence = (HERE.parents[1] / "LICENSE").read_text(encoding="utf-8")
    files = contents_of(binary, arguments.binary.read_bytes(), version, series, platform, licence)
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / f"{PACKAGE}-{version}-py3-none-{platform}.whl"
    return path, write_wheel(path, files, f"{PACKAGE}-{version}.dist-info/RECORD")


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="pack.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("binary", type=Path)
    add("--version", required=True, help="of sae.cpp")
    add("--torch", required=True, help="version that the binary was linked with; the wheel asks for its series")
    add("--default-torch", default="2.11", help="series that is not named in the wheel's version (%(default)s)")
    add("--out", type=Path, default=Path("dist"), help="folder, made if missing (%(default)s)")
    arguments = parser.parse_args(argv)
    for name in ("version", "torch"):
        if not re.fullmatch(r"\d+\.\d+(\.\d+)*", getattr(arguments, name)):
            parser.error(f"--{name}: got {getattr(arguments, name)}, expected numbers with dots")
    try:
        path, size = pack(arguments)
    except (PackError, OSError) as error:
        print(f"pack.py: {error}", file=sys.stderr)
        return 1
    print(f"{path}\n{size} bytes", file=sys.stderr)
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
