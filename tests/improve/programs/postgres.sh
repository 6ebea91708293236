# needs: pg_ctlcluster
# package: postgresql
bin=$(ls -d /usr/lib/postgresql/*/bin | tail -1)
as() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=postgres --regid=postgres --clear-groups env HOME=/tmp "$@"; else "$@"; fi; }
where=$(mktemp -d) && chmod 755 "$where" && [ "$(id -u)" != 0 ] || chown postgres "$where"
cd "$where" || exit
as $bin/initdb -A trust -D d >/dev/null 2>&1; echo $?
as $bin/pg_ctl -D d -w -l log -o "-c listen_addresses= -k $where" start >/dev/null; echo $?
q() { as $bin/psql -h "$where" -d postgres -AtXqc "$1"; }
q 'create table t as select g as id, md5(g::text) as v from generate_series(1, 20000) g'
q 'select count(*), md5(string_agg(v, $$$$ order by id)) from t'
for i in 1 2 3 4; do q "begin; update t set v = '$i' where id % 4 = $i - 1; commit" & done; wait
q 'select v, count(*) from t group by v order by v'
as $bin/pg_ctl -D d -w -m fast stop >/dev/null; echo $?
rm -rf "$where"
