# needs: strace
strace -f -o t sh -c 'echo traced; true'
echo $?
grep -c 'write(1, "traced' t
strace -c -o s ls / >/dev/null
test -s s
echo $?
