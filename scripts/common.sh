# shellcheck shell=bash
# Sourced by the other scripts: messages, packages, LibTorch, and how many jobs fit this machine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '%s\n' "$@"; }
fail() {
  printf '%s\n' "$@" >&2
  exit 1
}

# need_packages PACKAGE...: installs Debian packages, or says how to.
need_packages() {
  local sudo=()
  if ! command -v apt-get >/dev/null; then
    fail "Missing here: what Debian calls $*." "Install it with this system's package manager, then run this again."
  fi
  if [ "$(id -u)" -ne 0 ]; then
    if ! sudo -n true 2>/dev/null; then
      fail "Missing packages, and no right to install them: $*" "Run this, then the script again:" \
        "  sudo apt-get update && sudo apt-get install -y --no-install-recommends $*"
    fi
    sudo=(sudo -n)
  fi
  local apt=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -y -o DPkg::Lock::Timeout=300)
  say "Installing with apt: $*"
  "${apt[@]}" update -qq || say "apt-get update failed; trying with the package lists of before."
  local log
  log=$(mktemp)
  "${apt[@]}" install --no-install-recommends "$@" 2>&1 | tee "$log" |
    { grep -E '^(Need to get|After this)' || true; } || fail "$(tail -n 20 "$log")" "apt-get could not install: $*"
  rm "$log"
}

# has_header PATH: whether a compiler of this machine would find it.
has_header() {
  local prefixes prefix
  IFS=: read -ra prefixes <<<"/usr:/usr/local:${CONDA_PREFIX:-}:${CMAKE_PREFIX_PATH:-}"
  for prefix in "${prefixes[@]}"; do
    if [ -n "$prefix" ] && [ -e "$prefix/include/$1" ]; then return 0; fi
  done
  return 1
}

# need_build_tools [tests]: what compiles the command, and the tests if they are asked for.
need_build_tools() {
  local missing=()
  command -v "${CXX:-c++}" >/dev/null || missing+=(g++)
  command -v cmake >/dev/null || missing+=(cmake)
  command -v ninja >/dev/null || missing+=(ninja-build)
  has_header CLI/CLI.hpp || missing+=(libcli11-dev)
  has_header spdlog/spdlog.h || missing+=(libspdlog-dev)
  has_header nlohmann/json.hpp || missing+=(nlohmann-json3-dev)
  has_header zlib.h || missing+=(zlib1g-dev)
  [ "${1:-}" != tests ] || has_header gtest/gtest.h || missing+=(libgtest-dev)
  # For the venv that LibTorch goes into, if it has to.
  find_torch >/dev/null || python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
  if [ ${#missing[@]} -gt 0 ]; then need_packages "${missing[@]}"; fi
}

has_nvidia_driver() { [ -e /proc/driver/nvidia ] || nvidia-smi >/dev/null 2>&1; }

# find_torch [CMAKE_OPTION...]: prints "VERSION CPU|CUDA FOLDER" of the LibTorch that a build would use.
find_torch() {
  local found
  found=$(cmake "$@" -P scripts/cmake/LibTorch.cmake 2>/dev/null) && printf '%s\n' "${found#found }"
}

# default_torch: the version that the set-up scripts install.
default_torch() { sed -n 's/^set(sae_torch_default \([0-9.]*\)).*/\1/p' scripts/cmake/LibTorch.cmake; }

no_torch() { fail "pip could not install torch==$1 for $(python3 --version). SAE_TORCH_VERSION chooses another version."; }

# pip_install PYTHON WORD...: with a bar on a terminal.
pip_install() {
  local quiet=()
  [ -t 1 ] || quiet=(--quiet)
  "$1" -m pip --disable-pip-version-check install --no-input --no-user "${quiet[@]}" "${@:2}"
}

# pip_cpu_torch PYTHON VERSION: torch for a CPU alone.
pip_cpu_torch() {
  local needed
  pip_install "$1" --no-deps "torch==$2" || no_torch "$2"
  # Of CUDA, libtorch_cpu.so needs these two libraries and no more. The wheel says which versions.
  needed=$(
    "$1" - <<'PY'
import re
from importlib.metadata import requires
for requirement in requires("torch"):
    requirement = requirement.split(";")[0].strip()
    if requirement.startswith("cuda-toolkit["):
        print(re.sub(r"\[.*\]", "[cudart,cupti]", requirement))
    elif re.match(r"nvidia-cuda-(runtime|cupti)-", requirement):
        print(requirement)
PY
  )
  # shellcheck disable=SC2086 # words
  [ -z "$needed" ] || pip_install "$1" --no-warn-conflicts $needed ||
    fail "pip could not install the CUDA runtime and profiler libraries."
}

# install_torch cpu|cuda: LibTorch into the cache that all clones share. A venv is made aside and
# renamed when it is complete, so one that was interrupted is never taken for an installation.
install_torch() (
  version=${SAE_TORCH_VERSION:-$(default_torch)}
  cache=${XDG_CACHE_HOME:-$HOME/.cache}/sae.cpp
  venv=$cache/torch-$version
  cuda=$([ "$1" = cuda ] && echo ON || echo OFF)
  mkdir -p "$cache"
  exec 9>"$cache/lock"
  if ! flock -n 9; then
    say "Waiting for another installation of LibTorch to finish."
    flock 9
    if find_torch "-DSAE_CUDA=$cuda" >/dev/null; then exit 0; fi
  fi

  rm -rf "$venv.partial"
  trap 'rm -rf "$venv.partial"' EXIT
  python3 -m venv "$venv.partial"
  usable() {
    cmake "-DSAE_CUDA=$cuda" "-DTorch_DIR=$(echo "$venv.partial"/lib/python3*/site-packages/torch/share/cmake/Torch)" \
      -P scripts/cmake/LibTorch.cmake
  }
  if [ "$1" = cpu ]; then
    say "Installing LibTorch $version for the CPU into $venv: 545 MB to download, 1.3 GB on disk."
    pip_cpu_torch "$venv.partial/bin/python" "$version"
  fi
  if [ "$1" = cuda ] || ! usable >/dev/null 2>&1; then
    say "Installing LibTorch $version with CUDA into $venv: 2.7 GB to download, 4.7 GB on disk."
    pip_install "$venv.partial/bin/python" "torch==$version" || no_torch "$version"
    usable >/dev/null || fail "The installed torch==$version cannot be used."
  fi
  # The scripts of a venv hold its path.
  grep -rlIF "$venv.partial" "$venv.partial/bin" | xargs -d '\n' -r sed -i "s|/torch-$version\.partial|/torch-$version|g"
  rm -rf "$venv.old"
  if [ -e "$venv" ]; then mv "$venv" "$venv.old"; fi
  mv "$venv.partial" "$venv"
  rm -rf "$venv.old"
)

# need_torch: what is found is used; with an NVIDIA driver our own CPU installation is not enough.
need_torch() {
  local found kind=cpu
  if [[ ${SAE_CUDA:-AUTO} != @(OFF|LATE) ]] && has_nvidia_driver; then kind=cuda; fi
  [ "${SAE_CUDA:-AUTO}" != ON ] || kind=cuda
  found=$(find_torch "-DSAE_CUDA=${SAE_CUDA:-AUTO}") || found=
  if [ -z "$found" ] || { [ "$kind" = cuda ] && [[ "$found" == *" CPU "*"/sae.cpp/torch-"* ]]; }; then
    install_torch "$kind"
    found=$(find_torch "-DSAE_CUDA=${SAE_CUDA:-AUTO}") || cmake -P scripts/cmake/LibTorch.cmake
  fi
  say "LibTorch $found"
}

# use_venv NAME REQUIREMENTS MODULES GIVEN: sets `python` to GIVEN or, if that is empty, to a virtual
# environment that all clones share, made anew if it lacks one of MODULES.
use_venv() {
  local venv=${XDG_CACHE_HOME:-$HOME/.cache}/sae.cpp/$1
  python=${4:-$venv/bin/python}
  if [ -z "$4" ] && ! "$python" -c "import $3" 2>/dev/null; then
    python3 -c 'import ensurepip' 2>/dev/null || need_packages python3-venv
    say "Installing the packages of $2 into $venv"
    python3 -m venv --clear "$venv"
    "$python" -m pip --disable-pip-version-check --quiet install -r "$2" ||
      fail "pip could not install $2 for $(python3 --version)."
  fi
}

# need_harvest: sets harvest_python to a Python with the packages of scripts/harvest.py.
need_harvest() {
  use_venv harvest scripts/requirements-harvest.txt "torch, transformers" "${SAE_HARVEST_PYTHON:-}"
  harvest_python=$python
}

# Compiling a file that includes LibTorch takes 1.3 GB.
jobs() {
  local by_memory
  by_memory=$(awk '/^MemAvailable/ { print int($2 / 1500000) }' /proc/meminfo)
  if [ "$by_memory" -lt "$(nproc)" ]; then echo $((by_memory > 1 ? by_memory : 1)); else nproc; fi
}

# configure FOLDER [CMAKE_OPTION...]
configure() {
  local folder=$1 generator=()
  shift
  [ -e "$folder/CMakeCache.txt" ] || generator=(-G Ninja)
  cmake -S . -B "$folder" "${generator[@]}" "-DSAE_TORCH_VERSION=${SAE_TORCH_VERSION:-}" \
    "-DSAE_CUDA=${SAE_CUDA:-AUTO}" "$@" >/dev/null
}

# build FOLDER [CMAKE_OPTION...]: the command and the tests.
build() {
  configure "$@" -DSAE_BUILD_TESTS=ON
  cmake --build "$1" --parallel "$(jobs)"
}

# build_command FOLDER [CMAKE_OPTION...]: the command alone; whether there are tests in FOLDER stays as it is.
build_command() {
  if [ -e "$1/CMakeCache.txt" ]; then configure "$@"; else configure "$@" -DSAE_BUILD_TESTS=OFF; fi
  cmake --build "$1" --parallel "$(jobs)" --target sae_cli
}
