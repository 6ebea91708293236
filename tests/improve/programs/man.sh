# needs: man
# package: man-db
printf '.TH HERE 1\n.SH NAME\nhere \\- a page\n.SH DESCRIPTION\nWords, \\fBbold\\fR.\n' >here.1
MANWIDTH=60 man -P cat ./here.1 2>&1
man -w nothing-such 2>&1
echo $?
