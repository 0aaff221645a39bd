#!/usr/bin/env bash
# resolve.sh TARGET MAVEN POM [-DNAME=VALUE...]
#
# Lets Maven carry out POM, which lays what a server consists of into the folder that its property `to` names. TARGET
# exists only when all of it is there.
set -euo pipefail
target=$1 maven=$2 pom=$3
shift 3

command -v flock >/dev/null || { echo "this machine has no flock" >&2; exit 1; }

mkdir -p "$(dirname "$target")"
# One Maven at a time: they share a repository of downloads, which is not made for several at once.
lock=$(dirname "$target")/maven.lock
exec 9>"$lock"
flock -w 600 9 || { echo "another process holds $lock for ten minutes" >&2; exit 1; }
[[ -d $target ]] && exit # another process did it while this one waited

work=$target.unpacking
rm -rf "$work" # of one that was killed
mkdir -p "$work/to"
trap 'rm -rf "$work"' EXIT

"$maven" --batch-mode --quiet --file "$pom" -Dto="$work/to" -Dwork="$work/build" "$@" package >"$work/log" 2>&1 9>&- || {
  grep -m 5 ERROR "$work/log" >&2 || cat "$work/log" >&2
  exit 1
}
mv -T "$work/to" "$target"
echo done
