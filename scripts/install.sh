#!/usr/bin/env bash
# Install packages into an environment:  scripts/install.sh PYTHON ARGUMENTS-OF-PIP-INSTALL...
# uv does in seconds what takes pip minutes. It reads none of pip's settings, so the indexes and wheel folders that
# pip knows of are handed to it; where it fails all the same, pip does the work.
set -euo pipefail
python=$1
shift
pip=("$python" -m pip --disable-pip-version-check)

setting() {  # the value of a setting of pip, from its files or the environment; the environment wins
    "${pip[@]}" config list 2>/dev/null | sed -n "s/^\(global\|install\|:env:\)\.$1='\(.*\)'$/\2/p" | sed 's/\\n/ /g' | tail -n 1
}

fast() {
    "$python" -c 'import uv' 2>/dev/null || "${pip[@]}" install -qq uv || return 1
    local index extra find_links cert
    index=$(setting index-url) extra=$(setting extra-index-url) find_links=$(setting find-links) cert=$(setting cert)
    if [ -n "$index" ]; then export UV_DEFAULT_INDEX="$index"; fi
    if [ -n "$extra" ]; then export UV_INDEX="$extra"; fi
    if [ -n "$find_links" ]; then export UV_FIND_LINKS="${find_links// /,}"; fi
    if [ -n "$cert" ]; then export SSL_CERT_FILE="$cert"; fi
    # Of several indexes the best version counts, as with pip.
    export UV_INDEX_STRATEGY=unsafe-best-match
    "$python" -m uv pip install --quiet --python "$python" "$@"
}

fast "$@" || "${pip[@]}" install -qq "$@"
