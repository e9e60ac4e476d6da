#!/bin/sh
# Make sure that the real peers of the tests are here, from Debian's packages: DCMTK, Orthanc, Chromium,
# PostgreSQL, Prometheus and more.
set -eu
missing=""
command -v storescu >/dev/null && command -v dsrdump >/dev/null || missing="$missing dcmtk"
command -v Orthanc >/dev/null || missing="$missing orthanc"
command -v ojph_compress >/dev/null || missing="$missing openjph-tools"
[ -e /usr/share/java/pixelmed.jar ] && command -v java >/dev/null || missing="$missing libpixelmed-java default-jre-headless"
command -v chromium >/dev/null || missing="$missing chromium"
command -v strace >/dev/null || missing="$missing strace"
command -v ip >/dev/null || missing="$missing iproute2"
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="$missing postgresql"
command -v promtool >/dev/null && command -v prometheus >/dev/null || missing="$missing prometheus"
command -v xmllint >/dev/null || missing="$missing libxml2-utils"
[ -e /usr/lib/*/rsyslog/lmnsd_gtls.so ] && command -v rsyslogd >/dev/null || missing="$missing rsyslog rsyslog-gnutls"
[ -z "$missing" ] && exit 0

if ! command -v apt-get >/dev/null; then
    echo "make test needs these programs, packaged by Debian as:$missing" >&2
    exit 1
fi
become=""
if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        become="sudo -n"
    else
        echo "make test needs Debian packages, to be installed by root: apt-get install$missing" >&2
        exit 1
    fi
fi
echo "installing$missing ..."
$become apt-get -qq update
# shellcheck disable=SC2086 - the list is meant to split
DEBIAN_FRONTEND=noninteractive $become apt-get -qq install --yes --no-install-recommends $missing >/dev/null
