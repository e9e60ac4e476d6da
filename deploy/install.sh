#!/bin/sh
# Installs, upgrades, rolls back and uninstalls Hilum on one machine; docs/operating-guide.md.
#
#   install.sh [--wheels DIR] [--admin LOGIN]    install, or upgrade to the version in DIR
#   install.sh rollback [--restore]              back to the version before
#   install.sh uninstall [--purge]               --purge alone removes patient data and settings
#
#   --wheels DIR     our wheel and those of the dependencies; without it, where this script lies
#   --admin LOGIN    make the first account; the password is one line of standard input
#   --python PATH    the Python to use (3.11 or later)
#   --service CMD    starts and stops the service where systemd does not run: CMD start, CMD stop;
#                    each may come when it is done already
#   --packages VENV  take the dependencies from that environment, where it has the locked versions
#   --no-backup      upgrade although the database is PostgreSQL, backed up by its own means
#   --root DIR       put everything under DIR, with no user of its own and no systemd
#
# A run that was killed is undone, or finished, by the next one, whichever it is.
set -eu
umask 022

say() { printf 'hilum: %s\n' "$*"; }
fail() { printf 'hilum: %s\n' "$*" >&2; exit 1; }
wrong() { printf 'hilum: %s\n' "$*" >&2; exit 2; }

action=install root='' wheels='' admin='' python='' service='' packages=''
restore=no purge=no backed_up=no
case "${1:-}" in install | rollback | uninstall) action=$1; shift ;; esac
while [ $# -gt 0 ]; do
    case "$1" in
        --wheels | --admin | --python | --service | --packages | --root)
            [ $# -ge 2 ] || wrong "$1 needs a value" ;;
    esac
    case "$1" in
        --wheels) wheels=$2; shift ;;
        --admin) admin=$2; shift ;;
        --python) python=$2; shift ;;
        --service) service=$2; shift ;;
        --packages) packages=$2; shift ;;
        --root) root=$2; shift ;;
        --restore) restore=yes ;;
        --purge) purge=yes ;;
        --no-backup) backed_up=yes ;;
        -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) wrong "\"$1\" is no option; see install.sh --help" ;;
    esac
    shift
done
case "$root" in '' | /*) ;; *) root=$PWD/$root ;; esac
[ -n "$root" ] || [ "$(id -u)" = 0 ] || fail "this must run as root"

opt=$root/opt/hilum etc=$root/etc/hilum var=$root/var/lib/hilum
unit=$root/etc/systemd/system/hilum.service command=$root/usr/local/bin/hilum
config=$etc/hilum.toml
journal=$opt/upgrade   # there while an upgrade or a rollback is under way
previous=$opt/previous # what a rollback goes back to

# --- the service ---------------------------------------------------------------------------------
has_systemd() { [ -z "$root" ] && [ -d /run/systemd/system ]; }

start() {
    if has_systemd; then systemctl daemon-reload && systemctl enable --quiet hilum && systemctl start hilum 9>&-
    elif [ -n "$service" ]; then "$service" start 9>&-
    else say "systemd does not run here: start it by $command serve --config $config"
    fi
}

stop() {
    if has_systemd; then
        if systemctl cat hilum >/dev/null 2>&1; then systemctl stop hilum; fi
    elif [ -n "$service" ]; then "$service" stop 9>&-
    fi
}

# --- one version ---------------------------------------------------------------------------------
version_now() { if [ -L "$opt/current" ]; then basename "$(readlink "$opt/current")"; fi; }

as_service() { # as the user that the service is, so that it owns what is made
    if [ -z "$root" ]; then (cd / && exec runuser -u hilum -- "$@"); else "$@"; fi
}

hilum() { # version, arguments...
    release=$opt/releases/$1; shift
    as_service "$release/bin/hilum" "$@" --config "$config"
}

switch() { # version; a rename, so that there is always one
    ln -sfn "releases/$1" "$opt/current.new"
    mv -T "$opt/current.new" "$opt/current"
}

place() { # from, to: whole or not at all
    mkdir -p "$(dirname "$2")"
    cp "$1" "$2.new" && chmod 644 "$2.new" && mv -T "$2.new" "$2"
}

database_file() { # of version $1; empty where it is no SQLite database
    as_service "$opt/releases/$1/bin/python" -c '
import sys; from pathlib import Path; from sqlalchemy import make_url; from daemon.settings import load
url = make_url(load(Path(sys.argv[1])).storage.url)
print(url.database if url.get_backend_name() == "sqlite" else "")' "$config"
}

# Whether version $1 can open the database as it is; brings an older one to its schema.
opens() { hilum "$1" user list --json >/dev/null 2>&1; }

# --- an upgrade's journal ------------------------------------------------------------------------
note() { # step; written whole, by a rename
    printf '%s\n%s\n%s\n%s\n' "$1" "$from" "$to" "$backup" >"$journal.new"
    sync "$journal.new" 2>/dev/null || sync
    mv -T "$journal.new" "$journal"
    say "step: $1"
}

read_journal() { { read -r step; read -r from; read -r to; read -r backup; } <"$1"; }

# Bring `from` back, with the database as it was where it cannot open it as it is. May run twice.
undo() {
    note undoing
    stop
    switch "$from"
    place "$opt/releases/$from/share/hilum/hilum.service" "$unit"
    if [ -n "$backup" ]; then
        file=$(database_file "$from")
        if [ ! -e "$file" ] || ! opens "$from"; then put_back "$file"; fi
    fi
    start
    rm -f "$journal"
    say "version $from is back"
}

put_back() { # database file; what is there is kept beside it
    [ -e "$backup" ] || fail "there is no backup $backup; nothing was put back"
    aside=$file.of-$to.$(date -u +%Y%m%dT%H%M%SZ)
    for end in '' -wal -shm -journal; do
        if [ -e "$1$end" ]; then mv "$1$end" "$aside$end"; fi
    done
    hilum "$from" db restore "$backup" || say "look at what the restored database does not find"
    [ -e "$1" ] || fail "the backup $backup was not restored; run install.sh again"
    say "the database is that of $backup"
}

# Whatever a killed run left: the new version finished where it was to be started, else undone.
settle() {
    [ -e "$journal" ] || return 0
    read_journal "$journal"
    say "an upgrade from $from to $to was broken off at: $step"
    if [ "$step" = starting ]; then finish; else undo; fi
}

finish() {
    if start; then
        rm -f "$journal"
        say "version $to runs"
    else
        undo
        fail "version $to did not start; see journalctl -u hilum"
    fi
}

# --- install and upgrade -------------------------------------------------------------------------
find_python() {
    for one in ${python:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if "$one" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            python=$(command -v "$one")
            "$python" -c 'import ensurepip, venv' 2>/dev/null ||
                fail "Python's venv module is missing: apt-get install python3-venv"
            return
        fi
    done
    fail "Python 3.11 or later is missing: apt-get install python3 python3-venv, or dnf install python3.11"
}

find_wheel() {
    wheels=${wheels:-$(cd "$(dirname "$0")" && pwd)}
    [ -d "$wheels" ] || fail "$wheels is no folder"
    wheels=$(cd "$wheels" && pwd)
    set -- "$wheels"/hilum-*.whl
    [ -e "$1" ] || fail "there is no hilum-*.whl in $wheels: make one by \"make wheelhouse\""
    [ $# = 1 ] || fail "$wheels has several hilum-*.whl, and must have one"
    wheel=$1
    to=$(basename "$wheel" | cut -d- -f2)
}

make_user() {
    if [ -n "$root" ]; then return; fi
    getent group hilum >/dev/null || groupadd --system hilum
    id -u hilum >/dev/null 2>&1 || useradd --system --gid hilum --no-create-home \
        --home-dir /var/lib/hilum --shell /usr/sbin/nologin hilum
}

make_folders() {
    mkdir -p "$opt/releases" "$etc" "$var" "$(dirname "$command")"
    chmod 750 "$etc" && chmod 700 "$var"
    if [ ! -e "$config" ]; then
        cat >"$config.new" <<TOML
# All keys: docs/operating-guide.md. After a change: hilum check --config $config
[dicom]
ae_title = "HILUM"
port = 11112
# allowed_callers = ["CR1@10.0.0.5"]

[storage]
root = "$var"

# [[pacs]]
# name = "pacs"
# ae_title = "PACS"
# host = "10.0.0.2"
# port = 104
TOML
        chmod 640 "$config.new" && mv "$config.new" "$config"
    fi
    if [ -z "$root" ]; then chgrp -R hilum "$etc" && chown hilum:hilum "$var"; fi
}

make_release() {
    release=$opt/releases/$to
    [ ! -e "$release/complete" ] || return 0
    say "making $release ..."
    rm -rf "$release"
    if [ -n "$packages" ]; then borrow; else
        "$python" -m venv "$release"
        "$python" -m zipfile -e "$wheel" "$release/wheel"
        lock=$(echo "$release"/wheel/hilum-*.data/data/share/hilum/runtime.txt)
        "$release/bin/python" -m pip --disable-pip-version-check --quiet install --no-index \
            --find-links "$wheels" --require-hashes --requirement "$lock"
        rm -rf "$release/wheel"
        "$release/bin/python" -m pip --disable-pip-version-check --quiet install --no-index --no-deps "$wheel"
    fi
    "$release/bin/python" -m compileall -q "$release"/lib/python*/site-packages/daemon >/dev/null || true
    sync
    touch "$release/complete"
}

borrow() { # the dependencies of an environment that exists, which must be the locked versions
    "$python" -m venv --without-pip "$release"
    "$packages/bin/python" -m pip --disable-pip-version-check --quiet --python "$release/bin/python" \
        install --no-index --no-deps "$wheel"
    "$packages/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
        >"$(echo "$release"/lib/python*/site-packages)/borrowed.pth"
    "$release/bin/python" -c '
import re, sys
from importlib.metadata import PackageNotFoundError, version
for name, locked, marker in re.findall(r"(?m)^([\w.-]+)==([^\s;\\]+)( ;)?", open(sys.argv[1]).read()):
    try:
        if version(name) != locked:
            sys.exit(f"hilum: {name} is {version(name)} there, and {locked} in the lock")
    except PackageNotFoundError:
        if not marker:  # it may not be for this machine
            sys.exit(f"hilum: {name} {locked} is not there")
' "$release/share/hilum/runtime.txt"
}

first_install() {
    switch "$to"
    place "$opt/releases/$to/share/hilum/hilum.service" "$unit"
    opens "$to" || { hilum "$to" user list || true; fail "the database cannot be opened"; }
    first_account
    start
    say "version $to is installed"
}

first_account() {
    if [ -n "$admin" ]; then
        hilum "$to" user list --json | grep -q "\"login\": \"$admin\"" ||
            hilum "$to" user add "$admin" --role administrator --name "$admin" --password-stdin
    else
        say "the first account: runuser -u hilum -- $command user add LOGIN --role administrator --name NAME --config $config"
    fi
}

upgrade() {
    backup=''
    if [ -z "$(database_file "$from")" ] && [ "$backed_up" = no ]; then
        fail "the database is PostgreSQL: back it up by its own means, then add --no-backup"
    fi
    note stopping
    stop
    if [ -n "$(database_file "$from")" ]; then
        backup=$(hilum "$from" db backup --json | sed -n 's/^ "file": "\(.*\)",$/\1/p')
        [ -n "$backup" ] || { undo; fail "the database was not backed up; nothing was changed"; }
    fi
    note switching
    switch "$to"
    place "$opt/releases/$to/share/hilum/hilum.service" "$unit"
    note migrating
    # No image is taken before this has gone well: going back then loses none
    if ! opens "$to"; then
        hilum "$to" user list >/dev/null || true
        undo
        fail "version $to cannot open the database"
    fi
    if worse; then
        undo
        fail "hilum check finds a fault with $to that $from does not have"
    fi
    printf 'done\n%s\n%s\n%s\n' "$from" "$to" "$backup" >"$previous"
    note starting
    finish
}

# Whether `to` cannot read the settings, use the model, the engine or the database.
worse() {
    found=$(hilum "$to" check --json 2>&1) && return 1
    printf '%s' "$found" | "$opt/releases/$to/bin/python" -c '
import json, sys
try:
    found = json.load(sys.stdin)
except ValueError:
    sys.exit(0)
ours = {"settings", "storage", "database", "model", "engine", "reports"}
bad = [one for one in found if not one["good"] and one["what"] in ours]
for one in bad:
    print("hilum:", one["what"], one["says"])
sys.exit(not bad)'
}

check() {
    say "hilum check:"
    hilum "$(version_now)" check || say "faults are left to mend, as the table says"
}

install() {
    find_python
    find_wheel
    make_user
    make_folders
    settle
    find_wheel # settling has named the versions of the run before
    from=$(version_now)
    make_release
    place "$release/share/hilum/install.sh" "$opt/install.sh"
    ln -sfn "$opt/current/bin/hilum" "$command"
    if [ -z "$from" ]; then first_install
    elif [ "$from" = "$to" ]; then
        place "$release/share/hilum/hilum.service" "$unit"
        first_account
        start
        say "version $to is in place"
    else upgrade
    fi
    check
}

# --- roll back, uninstall ------------------------------------------------------------------------
rollback() {
    settle
    [ -e "$previous" ] || fail "there is no version to go back to"
    read_journal "$previous"
    [ "$(version_now)" = "$to" ] || fail "version $(version_now) runs, which was not put in by an upgrade from $from"
    [ "$restore" = no ] || [ -e "$backup" ] || fail "there is no backup $backup"
    stop
    if ! opens "$from" && [ "$restore" = no ]; then
        start
        fail "version $from cannot open the database of $to. rollback --restore puts back $backup; what came since is then in the database no more, and kept in a file beside it"
    fi
    undo
    rm -f "$previous"
    check
}

uninstall() {
    if has_systemd; then systemctl disable --quiet --now hilum 2>/dev/null || true; else stop; fi
    rm -rf "$opt" "$unit" "$command" "$opt.lock"
    if has_systemd; then systemctl daemon-reload; fi
    if [ "$purge" = yes ]; then
        rm -rf "$var" "$etc"
        if [ -z "$root" ] && id -u hilum >/dev/null 2>&1; then userdel hilum; fi
        say "removed, with all data"
    else
        say "removed; the data in $var and the settings in $etc are kept (--purge removes them)"
    fi
}

if [ "$action" != install ] && [ ! -d "$opt" ] && [ "$action$purge" != uninstallyes ]; then
    fail "hilum is not installed in $opt"
fi
mkdir -p "$opt"
if command -v flock >/dev/null; then
    exec 9>"$opt.lock"
    flock -n 9 || fail "another install.sh is at work"
fi
"$action"
