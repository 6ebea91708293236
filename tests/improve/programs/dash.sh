# needs: dash
cat >s <<'EOF'
for i in 1 2 3; do (exit $i) || echo $?; done
trap 'echo bye' EXIT
x=$(ls / | wc -l)
echo $x | cat
for i in 1 2 3 4 5 6 7 8 9 10; do echo $i >>out; done
cat <out
exec 5<out
read a <&5
echo $a
exit 3
EOF
dash s
echo $?
