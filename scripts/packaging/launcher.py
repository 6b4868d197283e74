"""The command `sae`: a native binary beside this file, which runs in place of this process."""

import importlib.util
import os
import sys
from pathlib import Path

LOADER = "@LOADER@"  # the binary's dynamic loader
TORCH = "@TORCH@"  # what the binary was linked with


def has_torch(folder):
    return (folder / "lib" / "libtorch_cpu.so").is_file()


def command(here):
    """The words to execute, less the user's. The binary looks for PyTorch in the folder that both are installed in;
    where that is another one, as with venv --system-site-packages, the loader is told."""
    binary = here / "sae"
    if has_torch(here.parent / "torch"):
        return [str(binary)]
    found = importlib.util.find_spec("torch")
    folders = [Path(folder) for folder in found.submodule_search_locations or []] if found else []
    for folder in filter(has_torch, folders):
        # Not by LD_LIBRARY_PATH, which the commands that `sae` starts would inherit.
        return [LOADER, "--library-path", str(folder / "lib"), str(binary)]
    sys.exit(f"sae: PyTorch is not installed beside it; pip install torch=={TORCH}")


def main():
    words = [*command(Path(__file__).resolve().parent), *sys.argv[1:]]
    os.execv(words[0], words)


if __name__ == "__main__":
    main()
