# needs: rsync
# package: rsync
mkdir a
for i in $(seq 60); do head -c $((i * 991)) /dev/zero | tr '\0' "$((i % 10))" >a/$i; done
rsync -a a/ b/ && diff -r a b && echo same
for i in 3 30; do echo more >>a/$i; rm a/$((i + 1)); done
rsync -a --delete --checksum a/ b/ && diff -r a b && echo same again
rsync -a nowhere/ b/ 2>/dev/null
echo $?
