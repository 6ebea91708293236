# needs: gdb
cat >a.c <<'EOF'
#include <stdio.h>
int main(void) { for (int i = 0; i < 3; i++) printf("hello %d\n", i); return 6; }
EOF
gcc -g -o a a.c
gdb -nx -batch -ex 'break main' -ex run -ex next -ex 'print i' -ex 'break write' -ex continue -ex bt -ex kill ./a 2>/dev/null |
	grep -E '^(hello|Breakpoint 1, |[$]1|#. .* main)|exited'
gdb -nx -batch -ex run ./a 2>/dev/null | grep -E '^hello|exited' | sed 's/process [0-9]*//'
