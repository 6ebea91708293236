# needs: ssh-keygen
# package: openssh-client
for t in ed25519 ecdsa rsa; do
	ssh-keygen -q -t $t -N '' -C here -f k_$t && ssh-keygen -y -f k_$t | cut -d' ' -f1-2 | cmp - <(cut -d' ' -f1-2 k_$t.pub) && echo $t
done
echo text >t && ssh-keygen -q -Y sign -f k_ed25519 -n file t 2>/dev/null && ssh-keygen -Y check-novalidate -n file -s t.sig <t | cut -d' ' -f1-5
ls
