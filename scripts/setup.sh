#!/usr/bin/env bash
# Installs what building and testing Lacuna needs, from Debian's packages (Debian 12, Ubuntu 24.04).
# Does nothing when all of it is there. Runs as root, or as anyone who may use sudo.
#
#   scripts/setup.sh [--quickstart] [--experiments]    # also what scripts/quickstart.sh, or
#                                                      # scripts/experiments, needs
set -euo pipefail

packages=(
  g++ cmake ninja-build pkg-config
  libopenmpi-dev openmpi-bin libhdf5-openmpi-dev libopenblas-dev
  libtomlplusplus-dev libcli11-dev nlohmann-json3-dev libpcre2-dev libgtest-dev
  zlib1g-dev libzstd-dev libsnappy-dev libbrotli-dev liblz4-dev
)
# Debian 12 has two versions of Boost; its newer one is maintained longer.
. /etc/os-release
if [ "$ID ${VERSION_ID:-}" = "debian 12" ]; then packages+=(libboost1.81-dev); else packages+=(libboost-dev); fi
for option in "$@"; do
  case $option in
    --quickstart) packages+=(bible-kjv python3-matplotlib) ;;
    --experiments) packages+=(bible-kjv wordnet-base python3-matplotlib) ;;
    *) echo "usage: $0 [--quickstart] [--experiments]" >&2; exit 2 ;;
  esac
done

missing=()
for package in "${packages[@]}"; do
  [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
    missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

root=()
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || { echo "$0: needs root or sudo to install: ${missing[*]}" >&2; exit 1; }
  root=(sudo)
fi
echo "installing: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
"${root[@]}" apt-get update -qq
"${root[@]}" apt-get install --yes --no-install-recommends -qq "${missing[@]}" >/dev/null
