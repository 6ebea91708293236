# needs: apt-get
# package: apt
mkdir -p state/lists/partial cache/archives/partial repo
: >repo/Packages
echo "deb [trusted=yes] file:$PWD/repo ./" >list
set -- -o Dir::State=$PWD/state -o Dir::Cache=$PWD/cache -o Dir::Etc::sourcelist=$PWD/list -o Dir::Etc::sourceparts=/dev/null -o Dir::State::status=/dev/null -o APT::Sandbox::User=root
apt-get "$@" update 2>&1 | grep -c Get
apt-cache "$@" stats | head -1
apt-get "$@" install -y nothing-such 2>&1 | tail -1
