# needs: ls
ls -lR /usr/share/doc | head -3000 | md5sum
ls /nonexistent
ls -la /proc/self/fd | wc -l
