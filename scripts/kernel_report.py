#!/usr/bin/env python3
"""Compiles the CUDA kernels without a GPU and holds their registers, spills and shared memory to a record.

    scripts/kernel_report.py                    # table; exit 1 where a kernel is worse than recorded
    scripts/kernel_report.py --write            # record what they use now
    scripts/kernel_report.py --nvrtc /usr/local/cuda/lib64/libnvrtc.so.13

src/cuda/common.cuh and each src/cuda/*.cu, one after the other as text, are compiled by NVRTC with the options that
a run uses, for one GPU of each generation. NVRTC needs no toolkit and no driver: `pip install nvidia-cuda-nvrtc`.
A kernel fails if it spills, is missing from the record or from the sources, or uses more registers or shared memory
than configs/bench/kernels.json says. Registers depend on NVRTC's version, which the record names.
"""

import argparse
import ctypes
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "configs" / "bench" / "kernels.json"
ARCHITECTURES = ("sm_80", "sm_90", "sm_100")
OPTIONS = ("--std=c++17", "-default-device", "--ptxas-options=-v")
ENTRY = re.compile(
    r"Compiling entry function '(?P<name>\w+)'.*?"
    r"(?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads.*?"
    r"Used (?P<registers>\d+) registers(?P<rest>[^\n]*)",
    re.DOTALL,
)
SHARED = re.compile(r"(\d+) bytes smem")


def installed_nvrtc():
    """The newest libnvrtc of the installed pip packages."""
    folders = [Path(folder) for folder in sys.path if folder.endswith("-packages")]
    found = [path for folder in folders for path in folder.glob("nvidia/*/lib/libnvrtc.so.*")]
    found = [path for path in found if re.fullmatch(r"libnvrtc\.so\.\d+", path.name)]
    if not found:
        sys.exit("libnvrtc: not in an installed package; `pip install nvidia-cuda-nvrtc`, or give --nvrtc PATH")
    return max(found, key=lambda path: int(path.name.rsplit(".", 1)[1]))


class Nvrtc:
    """The few functions of the library that this needs."""

    def __init__(self, path):
        try:
            self.library = ctypes.CDLL(str(path))
        except OSError as error:
            sys.exit(f"{path}: cannot be loaded: {error}")

    def version(self):
        major, minor = ctypes.c_int(), ctypes.c_int()
        self.library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
        return f"{major.value}.{minor.value}"

    def compile(self, name, source, architecture):
        """The compiler's log; ends the program where it does not compile."""
        program = ctypes.c_void_p()
        options = [option.encode() for option in (f"--gpu-architecture={architecture}", *OPTIONS)]
        array = (ctypes.c_char_p * len(options))(*options)
        self.library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), name.encode(), 0, None, None)
        failed = self.library.nvrtcCompileProgram(program, len(options), array)
        size = ctypes.c_size_t()
        self.library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        self.library.nvrtcGetProgramLog(program, log)
        self.library.nvrtcDestroyProgram(ctypes.byref(program))
        text = log.value.decode(errors="replace")
        if failed:
            sys.exit(f"{name}: does not compile for {architecture}:\n{text}")
        return text


def resources(log):
    """Of ptxas' log: what each kernel uses."""
    kernels = {}
    for entry in ENTRY.finditer(log):
        shared = SHARED.search(entry["rest"])
        kernels[entry["name"]] = {
            "registers": int(entry["registers"]),
            "spilled": int(entry["stores"]) + int(entry["loads"]),
            "shared": int(shared[1]) if shared else 0,
        }
    return kernels


def measure(nvrtc):
    """{kernel: {"file": ..., architecture: what it uses}} of all sources."""
    folder = ROOT / "src" / "cuda"
    prelude = (folder / "common.cuh").read_text(encoding="utf-8")
    kernels = {}
    for path in sorted(folder.glob("*.cu")):
        source = prelude + path.read_text(encoding="utf-8")
        for architecture in ARCHITECTURES:
            for name, used in resources(nvrtc.compile(path.name, source, architecture)).items():
                kernel = kernels.setdefault(name, {"file": path.name})
                if kernel["file"] != path.name or architecture in kernel:
                    sys.exit(f"{path.name}: {name}: {kernel['file']} has a kernel of that name")
                kernel[architecture] = used
    return kernels


def table(kernels):
    """Registers, spilled bytes where there are any, shared bytes."""
    rows = [("kernel", "file", *ARCHITECTURES)]
    for name, kernel in kernels.items():
        cells = []
        for architecture in ARCHITECTURES:
            used = kernel[architecture]
            spilled = f", {used['spilled']} spilled" if used["spilled"] else ""
            cells.append(f"{used['registers']} regs, {used['shared']} B{spilled}")
        rows.append((name, kernel["file"], *cells))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def findings(kernels, recorded):
    """One line for each thing that is worse than the record."""
    lines = []
    for name, kernel in kernels.items():
        if name not in recorded:
            lines.append(f"{name}: not recorded; run with --write")
        for architecture in ARCHITECTURES:
            used = kernel[architecture]
            if used["spilled"]:
                lines.append(f"{name}: spills {used['spilled']} bytes on {architecture}, expected none")
            allowed = recorded.get(name, {}).get(architecture, used)
            for what, unit in (("registers", "registers"), ("shared", "bytes of shared memory")):
                if used[what] > allowed[what]:
                    lines.append(f"{name}: {used[what]} {unit} on {architecture}, {allowed[what]} recorded")
    lines += [f"{name}: recorded, but not in src/cuda" for name in recorded if name not in kernels]
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nvrtc", type=Path, help="libnvrtc.so; else that of an installed package")
    parser.add_argument("--write", action="store_true", help=f"record in {RECORD.relative_to(ROOT)}")
    arguments = parser.parse_args()
    nvrtc = Nvrtc(arguments.nvrtc or installed_nvrtc())
    kernels = measure(nvrtc)
    print(table(kernels))
    if arguments.write:
        spilling = findings(kernels, kernels)
        record = {
            "nvrtc": nvrtc.version(),
            "kernels": {
                name: {a: {what: kernel[a][what] for what in ("registers", "shared")} for a in ARCHITECTURES}
                for name, kernel in kernels.items()
            },
        }
        lines = [f'    "{name}": {json.dumps(kernel)}' for name, kernel in record["kernels"].items()]
        head = f'{{\n  "nvrtc": "{record["nvrtc"]}",\n  "kernels": {{\n'
        RECORD.write_text(head + ",\n".join(lines) + "\n  }\n}\n", encoding="utf-8")
        problems = spilling
    else:
        if not RECORD.exists():
            sys.exit(f"{RECORD}: not there; run with --write")
        record = json.loads(RECORD.read_text(encoding="utf-8"))
        problems = findings(kernels, record["kernels"])
        if problems and record["nvrtc"] != nvrtc.version():
            problems.append(f"the record is of NVRTC {record['nvrtc']}, this is {nvrtc.version()}")
    for line in problems:
        print(f"kernel_report: {line}", file=sys.stderr)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
