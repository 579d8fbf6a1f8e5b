#!/bin/sh
# Create a virtual environment: make_venv.sh FOLDER [PYTHON]
#
# Candidates are run, not only looked up: a version manager may leave commands on the path that
# refuse to start, and Debian splits venv and ensurepip from the interpreter.
set -eu

venv=$1
wanted=${2:-}
reasons=""

for python in ${wanted:-python3.13 python3.12 python3.11 python3 python}; do
    command -v "$python" >/dev/null 2>&1 || continue
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || {
        reasons="$reasons
  $python: does not start"
        continue
    }
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        reasons="$reasons
  $python: is Python $version, too old"
        continue
    fi
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        reasons="$reasons
  $python: Python $version has no venv or ensurepip (Debian, Ubuntu: apt install python$version-venv)"
        continue
    fi
    echo "Creating $venv with $python (Python $version)"
    # A half-made environment would look finished to make.
    trap 'rm -rf "$venv"' EXIT
    trap 'exit 130' INT TERM
    "$python" -m venv --clear "$venv"
    # Before Python 3.13, venv does not hide itself from git and the tools that ask git.
    echo '*' > "$venv/.gitignore"
    trap - EXIT INT TERM
    exit 0
done

echo "No usable Python found: NASAM3D needs Python 3.11 or later with venv and pip.${reasons:-
  none of the commands ${wanted:-python3.13 python3.12 python3.11 python3 python} exists}
Install one, or name it: make PYTHON=/path/to/python3" >&2
exit 1
