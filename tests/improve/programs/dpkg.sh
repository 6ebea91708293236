# needs: dpkg-deb
# package: dpkg
mkdir -p p/DEBIAN p/usr/share/here
printf 'Package: here\nVersion: 1\nArchitecture: all\nMaintainer: here <here@here>\nDescription: here\n' >p/DEBIAN/control
echo content >p/usr/share/here/file
SOURCE_DATE_EPOCH=0 dpkg-deb --root-owner-group -b p here.deb >/dev/null && dpkg-deb -c here.deb | tr -s ' ' | cut -d' ' -f1,2,6
dpkg-deb -x here.deb out && cat out/usr/share/here/file
mkdir -p root/var/lib/dpkg/updates root/var/lib/dpkg/info root/var/lib/dpkg/triggers && : >root/var/lib/dpkg/status
dpkg --root=$PWD/root --force-not-root --force-depends -i here.deb 2>&1 | tail -1
dpkg --root=$PWD/root -l here | tail -1 | tr -s ' '
