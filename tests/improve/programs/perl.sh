# needs: perl
cat >a.pl <<'EOF'
use threads;
my @t = map { my $n = $_; threads->create(sub { return $n * 2 }) } 1..4;
print join(",", map { $_->join } @t), "\n";
print `echo backtick`;
open(F, ">x");
print F "y" x 10;
close F;
print -s "x", "\n";
local $SIG{ALRM} = sub { print "alarm\n" };
alarm 1;
sleep 3;
system("exit 3");
print $? >> 8, "\n";
exit 2;
EOF
perl a.pl
echo $?
