# needs: vim
printf 'b\na\nc\n' > x
vim -es -u NONE -c '%sort' -c 'normal Gohello' -c 'wq' x
echo $?
cat x
