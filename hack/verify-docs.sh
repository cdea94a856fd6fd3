#!/usr/bin/env bash
# Holds the documentation against the tree: every link leads to a file, and every `make TARGET` and test that is named exists.
set -euo pipefail
cd "$(dirname "$0")/.."

failed=0
complain() { echo "verify-docs: $*" >&2; failed=1; }

targets=$(sed -n 's/^\([a-z-]*\):.*/\1/p' Makefile)
while IFS= read -r file; do
  while IFS= read -r link; do
    [[ -e $(dirname "$file")/$link ]] || complain "$file links to $link, which is not there"
  done < <(grep -oE '\]\([^)#:]+' "$file" | sed 's/^](//' | grep -vE '^https?$')
  while IFS= read -r target; do
    grep -qx -- "$target" <<<"$targets" || complain "$file shows make $target, and there is no such target"
  done < <(grep -oE '(^|`)make [a-z-]+' "$file" | sed 's/.*make //')
  while IFS= read -r name; do
    git grep -qE "^func $name\\(" -- '*_test.go' || complain "$file names $name, and there is no such test"
  done < <(grep -oE '`Test[A-Za-z0-9]+`' "$file" | tr -d '`')
done < <(git ls-files '*.md')
exit $failed
