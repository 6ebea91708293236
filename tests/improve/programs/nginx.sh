# needs: nginx
# package: nginx-light
chmod 755 . && mkdir www logs && head -c 200000 /dev/zero | tr '\0' n >www/file
cat >c <<EOF
daemon off; worker_processes 2; pid $PWD/pid; error_log $PWD/logs/e; events {}
http { access_log $PWD/logs/a; client_body_temp_path $PWD/logs; server { listen unix:$PWD/s; root $PWD/www; } }
EOF
[ "$(id -u)" = 0 ] && sed -i '1i user root;' c
nginx -p $PWD -c $PWD/c &
for i in $(seq 100); do [ -S s ] && break; sleep 0.1; done
for i in 1 2 3 4 5; do curl -s --unix-socket s http://here/file | md5sum; done
curl -s -o /dev/null -w '%{http_code}\n' --unix-socket s http://here/nothing
nginx -p $PWD -c $PWD/c -s quit 2>/dev/null
wait
echo $?
wc -l <logs/a
