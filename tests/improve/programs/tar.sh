# needs: tar
mkdir d e
for i in $(seq 100); do echo $i >d/$i; done
tar --sort=name --mtime=@0 --owner=0 --group=0 -czf a.tgz d
tar -xzf a.tgz -C e
diff -r d e/d
echo $?
tar -tzf a.tgz | wc -l
gzip -dc a.tgz | md5sum
tar -xf nothing
