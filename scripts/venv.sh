# shellcheck shell=bash
# Sourced by the scripts beside it. Makes .venv where it is missing or out of date, sets $root (the repository) and
# $python (its interpreter), and puts .venv/bin first on the path. Needs nothing but Python 3.11 or newer.

unset PYTHONPATH PYTHONHOME # another environment's packages must not leak into this one
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="$root/.venv"
python="$venv/bin/python"

say() { printf '%s\n' "$*" >&2; }

die() {
    say "$(basename "$0"): $*"
    exit 2
}

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

version_of() { { "$1" --version || echo missing; } 2>/dev/null; }

# Prints the first interpreter that is new enough; $PYTHON, where set, is the only candidate.
find_python() {
    local name candidates=(python3 python3.14 python3.13 python3.12 python3.11 python)
    [ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
    for name in "${candidates[@]}"; do
        if command -v "$name" >/dev/null && is_new_enough "$name"; then
            printf '%s\n' "$name"
            return
        fi
    done
    die "Python 3.11 or newer is needed, but ${candidates[0]} is $(version_of "${candidates[0]}")." \
        "Install it (https://www.python.org/downloads) or name it: PYTHON=/path/to/python3 $0"
}

make_venv() {
    local base
    base="$(find_python)" || exit
    "$base" -c 'import ensurepip, venv' 2>/dev/null ||
        die "$base lacks the venv module. On Debian and Ubuntu: apt install python3-venv"
    "$base" -m venv --clear "$venv" || die "$base could not make $venv"
}

# What .venv was made from: when this changes, it is brought up to date.
fingerprint() {
    cat "$root/pyproject.toml" "$root/scripts/constraints.txt" | "$python" -c \
        'import hashlib, sys; print(sys.version, sys.prefix, hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'
}

install_packages() {
    say "Setting up $venv (the first time this fetches PyTorch and takes some minutes) ..."
    local quiet=()
    [ -t 2 ] || quiet=(--quiet) # a log needs no progress bars
    "$python" -m pip install --disable-pip-version-check ${quiet[@]+"${quiet[@]}"} \
        --constraint "$root/scripts/constraints.txt" --editable "$root[test,dev]" ||
        die "pip could not install the packages; its message is above. Run this again to go on."
}

set_up_venv() {
    local stamp="$venv/.maskstream-set-up"
    if ! is_new_enough "$python"; then # missing, or its Python has gone
        make_venv
    fi
    if [ "$(fingerprint)" != "$(cat "$stamp" 2>/dev/null)" ]; then
        install_packages
        fingerprint >"$stamp"
    fi
    export PATH="$venv/bin:$PATH"
}

set_up_venv
