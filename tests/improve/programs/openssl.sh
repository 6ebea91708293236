# needs: openssl
# package: openssl
export OPENSSL_CONF=/dev/null
openssl ecparam -name prime256v1 -genkey -noout -out key 2>/dev/null && openssl ec -in key -pubout -out public 2>/dev/null
for i in $(seq 40); do
	echo "message $i" >m
	openssl dgst -sha256 -sign key -out s m && openssl dgst -sha256 -verify public -signature s m
done | sort | uniq -c
# The tables of P-256 lie in libcrypto's text: known answers.
printf '%064x' 112233445566778899 | xxd -r -p >d
printf '\x30\x31\x02\x01\x01\x04\x20' | cat - d >der && printf '\xa0\x0a\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07' >>der
openssl ec -inform DER -in der -pubout -outform DER 2>/dev/null | md5sum
head -c 300000 /dev/zero | openssl enc -aes-256-cbc -K 00112233 -iv 44556677 2>/dev/null | md5sum
