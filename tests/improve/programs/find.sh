# needs: xargs
mkdir -p a/b/c
touch a/{1..40} a/b/{1..40}
find a -type f | sort | xargs -n 7 -P 2 echo | tr ' ' '\n' | sort | md5sum
find a -name '1*' -exec echo {} + | tr ' ' '\n' | sort
find a -delete
ls
