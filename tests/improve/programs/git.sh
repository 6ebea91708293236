# needs: git
export GIT_AUTHOR_DATE=2020-01-01T00:00:00Z GIT_COMMITTER_DATE=2020-01-01T00:00:00Z HOME=$PWD
git init -q r
cd r
git config user.name a
git config user.email a@b
for i in 1 2 3 4 5; do
	echo $i >f$i
	git add .
	git commit -qm c$i
done
git gc -q
git log --oneline
git fsck
git clone -q . ../c
ls ../c
git diff HEAD~2 --stat
git push -q ../c HEAD:refs/heads/x
echo $?
