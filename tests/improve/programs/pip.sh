# needs: /usr/bin/pip3
# package: python3-pip
mkdir -p wheel/here && cd wheel && echo 'answer = 42' >here/__init__.py
cat >p.py <<'EOF'
import zipfile
with zipfile.ZipFile("here-1-py3-none-any.whl", "w") as w:
    w.write("here/__init__.py")
    w.writestr("here-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: here\nVersion: 1\n")
    w.writestr("here-1.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: here\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    w.writestr("here-1.dist-info/RECORD", "")
EOF
/usr/bin/python3 p.py
/usr/bin/pip3 install -q --no-index --no-deps --disable-pip-version-check --root-user-action ignore --target out here-1-py3-none-any.whl 2>/dev/null
PYTHONPATH=out /usr/bin/python3 -c 'import here; print(here.answer)'
find out -name '*.py' | sort
