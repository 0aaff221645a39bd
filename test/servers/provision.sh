#!/usr/bin/env bash
# provision.sh TARGET SUITE PROGRAM ACCEPTED PACKAGE...
#
# Unpacks packages of a Debian suite into the folder TARGET, from the mirror that this machine is configured for and with
# its signatures checked. Nothing is installed: no maintainer script runs, no service starts, apt's own lists stay as they
# are. TARGET exists only when PROGRAM in it has said that it is of a version that the pattern ACCEPTED matches.
set -euo pipefail
target=$1 suite=$2 program=$3 accepted=$4
shift 4

for tool in apt-get dpkg-deb flock; do
  command -v "$tool" >/dev/null || { echo "this machine has no $tool" >&2; exit 1; }
done

mkdir -p "$(dirname "$target")"
exec 9>"$target.lock"
flock -w 600 9 || { echo "another process holds $target.lock for ten minutes" >&2; exit 1; }
[[ -d $target ]] && exit # another process unpacked it while this one waited

work=$target.unpacking
rm -rf "$work" # of one that was killed
mkdir -p "$work"/{debs,root}
trap 'rm -rf "$work"' EXIT

# The lists of a suite are downloaded and read once for all of its packages; later they are only asked whether they are new.
lists=$(dirname "$target")/$suite.lists
mkdir -p "$lists"/{lists/partial,cache/archives/partial,sources}
exec 8>"$lists.lock"
flock -w 600 8 || { echo "another process holds $lists.lock for ten minutes" >&2; exit 1; }

codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
indexes=$(apt-get update --print-uris -o Dir::State::lists="$work")
mirror=$(sed -n "s|^'\(.*\)/dists/$codename/InRelease' .*|\1|p" <<<"$indexes")
[[ -n $mirror ]] || mirror=$(sed -n "s|^'\(.*\)/dists/[a-z]*/InRelease' .*|\1|p" <<<"$indexes")
mirror=${mirror%%$'\n'*}
[[ -n $mirror ]] || { echo "apt is configured for no Debian mirror" >&2; exit 1; }

for keyring in /usr/share/keyrings/debian-archive-keyring.{gpg,pgp} none; do
  [[ -f $keyring ]] && break
done
[[ $keyring != none ]] || { echo "the package debian-archive-keyring is missing" >&2; exit 1; }

printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n' "$mirror" "$suite" "$keyring" \
  >"$lists/sources/suite.sources"

apt() {
  apt-get -qq -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$lists/sources" \
    -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null -o Dir::State::lists="$lists/lists" \
    -o Dir::Cache="$lists/cache" -o APT::Sandbox::User="$(id -un)" -o APT::Update::Error-Mode=any \
    -o Acquire::Languages=none -o Acquire::Retries=3 "$@" >&2
}
apt update
(cd "$work/debs" && apt download "$@")
exec 8>&-
for deb in "$work"/debs/*.deb; do dpkg-deb -x "$deb" "$work/root"; done

# A link from the root of the file system means what was unpacked, where that is there (the configuration of Java is).
while IFS= read -r link; do
  to=$work/root$(readlink "$link")
  [[ ! -e $to ]] || ln -sfnr "$to" "$link"
done < <(find "$work/root" -type l -lname '/*')

# Whole, and cut here: a program whose reader has left dies of it, and the script with it.
libraries=$(printf '%s:' "$work"/root/{usr/,}lib/*-linux-gnu)
version=$(LD_LIBRARY_PATH=${libraries%:} "$work/root/$program" --version)
version=${version%%$'\n'*}
[[ $version =~ $accepted ]] || { echo "$program of $suite says \"$version\", which is not wanted" >&2; exit 1; }
mv -T "$work/root" "$target"
echo "$version"
