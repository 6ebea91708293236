# needs: sqlite3
sqlite3 x.db "pragma journal_mode=wal; create table t(a,b); insert into t select value, hex(value) from
	generate_series(1,1000); select count(*), sum(a) from t; vacuum; pragma integrity_check;"
sqlite3 x.db 'select b from t where a=77'
ls
