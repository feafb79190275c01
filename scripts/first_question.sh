#!/bin/sh
# Starts the service, under the user's service manager where there is one, and asks Codex a first question. Where Codex
# has no login and no other provider, the built-in demo model answers, and says so.
set -eu
cd "$(dirname "$0")/.."
bin="$PWD/.venv/bin"

# Kept in the installed service as well: it uses the real model from the first start after `codex login` on.
export CODEX_SUPERVISOR_DEMO=1

say() { printf '\n$ %s\n' "$*"; }

if [ "$(uname)" = Darwin ] || systemctl --user show-environment >/dev/null 2>&1; then
    say codex-supervisor install --now
    "$bin/codex-supervisor" install --now
else
    echo "There is no user service manager here: codexctl starts the service by itself."
fi
say codexctl ask "'What is this, in one sentence?'"
"$bin/codexctl" ask "What is this, in one sentence?"
say codexctl status
"$bin/codexctl" status
cat <<EOF

It runs. Next: $bin/codexctl ask 'your question', $bin/codexctl --help, and README.md.
EOF
