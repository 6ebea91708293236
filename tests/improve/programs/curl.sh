# needs: curl
# package: curl
head -c 500000 /dev/zero | tr '\0' z >file
/usr/bin/python3 -m http.server --bind 127.0.0.1 0 >log 2>&1 &
server=$!
for i in $(seq 100); do port=$(sed -n 's/.*port \([0-9]*\).*/\1/p' log); [ "$port" ] && break; sleep 0.1; done
curl -s "http://127.0.0.1:$port/file" | md5sum
curl -s -o a -o b "http://127.0.0.1:$port/file" "http://127.0.0.1:$port/nothing" -w '%{http_code}\n'
curl -s file://$PWD/file | wc -c
kill $server
wait $server 2>/dev/null
rm log
