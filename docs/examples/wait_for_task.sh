#!/bin/sh
# Waits for the end of a task by looking at its state file; needs neither codexctl nor the service.
#
#   wait_for_task.sh .codex/tasks/T-001.json [SECONDS]
#
# Prints what the task does whenever that changes. Exit codes, as of `codexctl task wait`: 0 DONE, 1 ERROR, 6 cancelled,
# 8 TIMEOUT, 11 not ended within SECONDS (default: 3600), 2 wrong usage.

set -eu

file=${1:?usage: wait_for_task.sh STATE-FILE [SECONDS]}
deadline=$(($(date +%s) + ${2:-3600}))
shown=

# The value of a key of the file's outermost object. The file is replaced as a whole, so it is never half written. A key
# within another text is written \"status\" there, which is no match.
value() {
    printf '%s\n' "$state" | sed -n "s/^  \"$1\": \"\\(.*\\)\",\\{0,1\\}\$/\\1/p"
}

while :; do
    # The file is there as soon as `codexctl task submit` has printed the id.
    if state=$(cat "$file" 2>/dev/null); then
        status=$(value status)
        now="$status $(value progress)"
        if [ "$now" != "$shown" ]; then
            printf '%s\n' "$now"
            shown=$now
        fi
        case $status in
            DONE) exit 0 ;;
            TIMEOUT) exit 8 ;;
            ERROR)
                printf '%s\n' "$(value error)" >&2
                [ "$(value outcome)" = cancelled ] && exit 6
                exit 1
                ;;
        esac
    fi
    [ "$(date +%s)" -lt "$deadline" ] || exit 11
    sleep 1
done
