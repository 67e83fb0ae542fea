#!/bin/sh
# /opt/interlink/bin/tunneled-health-check.sh: the health check of the chain, with its log file where there is a
# directory for it. What it finds is on stdout as well; the exit code is 0 only if every hop works and the node is Ready.
log=${HEALTH_LOG:-/opt/interlink/logs/health-check.log}
[ ! -w "${log%/*}" ] || set -- --logfile "$log" "$@"
exec "${0%/*}/interlinkctl" check "$@"
