# needs: make
printf 'all: a b c\n%%: ; @echo $@ > $@; cat $@\n' >Makefile
make -j2 | sort
make
make nothing.x/y
echo $?
