# needs: bash
for i in {1..50}; do echo $i; done | sort -n | while read x; do echo $((x*x)); done | tail -3
cat <(echo one) <(echo two)
f() { return 7; }
f
echo $?
set -o pipefail
false | true
echo $?
read x <<<here
echo $x
(sleep 0.1 & wait $!; echo $?)
coproc cat
echo to the coprocess >&${COPROC[1]}
read y <&${COPROC[0]}
echo $y
trap 'echo caught' USR1
kill -USR1 $$
kill -9 $$
