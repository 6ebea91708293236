# needs: redis-server
# package: redis-server
redis-server --port 0 --unixsocket $PWD/s --io-threads 4 --appendonly yes --daemonize yes --pidfile $PWD/pid --logfile $PWD/log >/dev/null
for i in $(seq 100); do [ -S s ] && break; sleep 0.1; done
c() { redis-cli -s s "$@"; }
for i in $(seq 50); do c set k$i v$i; done | sort | uniq -c
c eval 'local n = 0 for i = 1, 50 do if redis.call("get", "k" .. i) == "v" .. i then n = n + 1 end end return n' 0
c save
c bgrewriteaof >/dev/null
c shutdown
ls -d dump.rdb appendonlydir
rm -rf appendonlydir dump.rdb log pid
