# needs: sort
seq 200000 | sort -R --random-source=/etc/passwd | sort -n -S 1M -T . | md5sum
printf 'b\na\n' > x
sort -o x x
cat x
sort nothing
