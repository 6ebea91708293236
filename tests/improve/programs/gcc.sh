# needs: gcc
cat >a.c <<'EOF'
#include <stdio.h>
int main(void) { for (int i = 0; i < 3; i++) printf("hello %d\n", i); return 6; }
EOF
gcc -O2 -o a a.c
./a
echo $?
gcc -c nothing.c
echo $?
ls
