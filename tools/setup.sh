#!/usr/bin/env bash
# Make this machine ready: Debian packages, .venv with the project in it, hugepages.
#
#   tools/setup.sh [--test] [--no-hugepages]
#
# --test           also what the tests need (extra [test] of pyproject.toml)
# --no-hugepages   leave hugepages as they are
#
# DPVS_HUGEPAGES   2 MB pages there should be at least (default 512)
# DPVS_SETUP_LOG   where the output of apt-get and pip goes (default /var/log/dpvs-setup.log
#                  for root, ~/.dpvs-setup.log for others)
#
# Whatever is there already is left alone, and a second run takes a fraction of a second.
# Exit status: 0 ready, 2 bad option, 3 needs root, 4 apt-get failed, 5 no usable Python,
# 6 pip failed, 7 no hugepages (everything else is ready then).
set -u
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P) || exit 1
export PATH="$PATH:/usr/sbin:/sbin"
want_test=no
want_pages=${DPVS_HUGEPAGES:-512}
log=$HOME/.dpvs-setup.log
[ "$(id -u)" != 0 ] || log=/var/log/dpvs-setup.log
log=${DPVS_SETUP_LOG:-$log}
venv=$root/.venv
huge=/sys/kernel/mm/hugepages/hugepages-2048kB
policy=/usr/sbin/policy-rc.d
policy_mark="written by dpvs tools/setup.sh"

fail() { # STATUS TEXT
    echo "setup: $2" >&2
    exit "$1"
}

for option in "$@"; do
    case $option in
        --test) want_test=yes ;;
        --no-hugepages) want_pages=0 ;;
        -h | --help) sed -n '2,/^set -u/{/^set -u/d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
        *) fail 2 "unknown option $option (there are --test and --no-hugepages)" ;;
    esac
done
[[ $want_pages =~ ^[0-9]+$ ]] || fail 2 "DPVS_HUGEPAGES is '$want_pages', not a number of pages"

# ---------------------------------------------------------------- Debian packages

# PROGRAM:PACKAGE, installed when the program is not found.
programs="ip:iproute2 sysctl:procps ping:iputils-ping ethtool:ethtool
nginx:nginx-light curl:curl wrk:wrk iperf3:iperf3 socat:socat tcpdump:tcpdump"

have_dpdk() {
    compgen -G '/usr/lib*/dpdk/pmds-*/librte_net_tap.so*' >/dev/null ||
        compgen -G '/usr/lib/*/dpdk/pmds-*/librte_net_tap.so*' >/dev/null ||
        compgen -G '/usr/local/lib*/dpdk/pmds-*/librte_net_tap.so*' >/dev/null ||
        compgen -G '/usr/local/lib/*/dpdk/pmds-*/librte_net_tap.so*' >/dev/null
}

missing_packages() {
    local entry
    for entry in $programs; do
        command -v "${entry%%:*}" >/dev/null || echo "${entry##*:}"
    done
    # Drivers come as separate packages; the meta packages name those of this Debian's DPDK.
    have_dpdk || echo librte-meta-bus librte-meta-mempool librte-meta-net
    find_python >/dev/null || echo python3 python3-venv
}

# Package scripts start their services; a policy that forbids it keeps nginx from running.
forbid_services() {
    [ -e "$policy" ] && ! grep -qs "$policy_mark" "$policy" && return
    printf '#!/bin/sh\n# %s: no service is started while it installs packages\nexit 101\n' \
        "$policy_mark" >"$policy" && chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
}

install_packages() { # PACKAGE...
    [ "$(id -u)" = 0 ] || fail 3 "needs root to install $*"
    command -v apt-get >/dev/null || fail 4 "could not install $*: this system has no apt-get"
    local had_nginx=yes
    command -v nginx >/dev/null || had_nginx=no
    echo "setup: installing $*"
    forbid_services
    export DEBIAN_FRONTEND=noninteractive
    local apt=(apt-get -q -y -o DPkg::Lock::Timeout=300)
    {
        date
        "${apt[@]}" update
        "${apt[@]}" install --no-install-recommends "$@"
    } >>"$log" 2>&1 9>&- || fail 4 "could not install $*: apt-get failed, see $log"
    # Nor is it to start at the next boot, unless it was here before.
    if [ $had_nginx = no ] && command -v systemctl >/dev/null; then
        systemctl disable --now nginx >>"$log" 2>&1 || true
    fi
    if [ -e "$policy" ] && grep -qs "$policy_mark" "$policy"; then rm -f "$policy"; fi
}

# ---------------------------------------------------------------- Python

# Print the first Python >= 3.11 that can make virtual environments.
find_python() {
    local name
    for name in python3 python3.11 python3.12 python3.13 /usr/bin/python3; do
        if "$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
            >/dev/null 2>&1; then
            command -v "$name"
            return
        fi
    done
    return 1
}

make_venv() { # EXTRA
    local python target=$root$1 stamp wanted
    stamp=$venv/.setup-stamp
    wanted=$(cat "$root/pyproject.toml" "${BASH_SOURCE[0]}" | sha256sum | cut -d' ' -f1)
    # One stamp a line: an environment made for the tests serves ordinary use as well.
    if [ -x "$venv/bin/python" ] && grep -qsxF "$wanted $root$1" "$stamp" &&
        "$venv/bin/python" -c '' 2>/dev/null; then
        return
    fi
    python=$(find_python) || fail 5 "no Python 3.11 or later with venv and ensurepip found"
    echo "setup: installing Python packages into $venv"
    rm -f "$stamp"
    if ! "$venv/bin/python" -c 'import pip' 2>/dev/null; then
        "$python" -m venv "$venv" >>"$log" 2>&1 9>&- ||
            fail 5 "could not make $venv with $python, see $log"
    fi
    "$venv/bin/python" -m pip install --disable-pip-version-check --prefer-binary \
        -e "$target" >>"$log" 2>&1 9>&- ||
        fail 6 "could not install the Python packages: pip failed, see $log"
    {
        echo "$wanted $root"
        [ -z "$1" ] || echo "$wanted $root$1"
    } >"$stamp"
}

# ---------------------------------------------------------------- hugepages

make_hugepages() {
    local now mounted
    [ -r "$huge/nr_hugepages" ] || fail 7 "the kernel has no 2 MB hugepages"
    now=$(<"$huge/nr_hugepages")
    mounted=$(awk '$3 == "hugetlbfs" { print $2; exit }' /proc/mounts)
    [ "$now" -ge "$want_pages" ] && [ -n "$mounted" ] && return
    [ "$(id -u)" = 0 ] || fail 7 "needs root to reserve $want_pages hugepages (there are $now)"
    if [ "$now" -lt "$want_pages" ]; then
        echo "$want_pages" >"$huge/nr_hugepages" 2>/dev/null
        now=$(<"$huge/nr_hugepages")
        [ "$now" -ge "$want_pages" ] ||
            fail 7 "got $now of $want_pages hugepages of 2 MB: not enough free memory in one piece"
    fi
    if [ -z "$mounted" ]; then
        mkdir -p /dev/hugepages && mount -t hugetlbfs -o pagesize=2M none /dev/hugepages ||
            fail 7 "could not mount hugetlbfs at /dev/hugepages"
    fi
}

# Two runs at once would install into each other's environment.
exec 9<"$root" && flock 9 || fail 1 "could not lock $root"

packages=$(missing_packages)
# shellcheck disable=SC2086  # a list of words
[ -z "$packages" ] || install_packages $packages
if [ $want_test = yes ]; then make_venv '[test]'; else make_venv ''; fi
[ "$want_pages" = 0 ] || make_hugepages
