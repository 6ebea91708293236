# needs: busybox
# package: busybox-static
busybox sh -c 'for i in 1 2 3; do echo $i; done | busybox sort -r; busybox seq 1000 | busybox md5sum; (exit 4); echo $?'
busybox tar -cf a.tar -C /etc passwd && busybox tar -xOf a.tar | cmp - /etc/passwd && echo same
