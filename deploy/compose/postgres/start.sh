#!/bin/bash
# Makes the databases, wholly or not at all, where there are none, and becomes the server.
set -euo pipefail
files=${PGDATA%/*} rules=/etc/authz/pg_hba.conf
if [ ! -e "$PGDATA" ]; then
    rm -rf "$PGDATA.new"
    # Without the file of rules below, no connection is accepted.
    initdb --pgdata "$PGDATA.new" --username postgres --encoding UTF8 --locale C --auth reject
    pg_ctl --pgdata "$PGDATA.new" --wait --options "-c hba_file=$rules -c listen_addresses='' -c unix_socket_directories=$PGHOST" start
    psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --file "$files/roles.sql" postgres
    pg_ctl --pgdata "$PGDATA.new" --wait stop
    mv "$PGDATA.new" "$PGDATA"
fi
exec postgres \
    -c hba_file="$rules" \
    -c listen_addresses='*' \
    -c unix_socket_directories="$PGHOST" \
    -c ssl=on \
    -c ssl_cert_file="$files/server.pem" \
    -c ssl_key_file="$files/server.key" \
    -c ssl_min_protocol_version=TLSv1.3
