#!/bin/sh
# Set-up for every make target: system packages (by apt when root), .venv, the C core, the package.
# With the word "tests": the real programs that the tests run, too (without root they are skipped there).
# With "tests spark": pyspark as well, which is large and needed by the long tests only.
set -eu
cd "$(dirname "$0")/.."

need="gcc:gcc clang:clang bpftool:bpftool strace:strace mkfs.ext4:e2fsprogs pkg-config:pkg-config
/usr/include/bpf/libbpf.h:libbpf-dev /usr/include/Zydis/Zydis.h:libzydis-dev /usr/include/libelf.h:libelf-dev /usr/include/elfutils/libdw.h:libdw-dev
/usr/include/x86_64-linux-gnu/sys/types.h:libc6-dev"
if [ "${1:-}" = tests ] && [ "$(id -u)" = 0 ]; then
	need="$need mkfs.xfs:xfsprogs mkfs.btrfs:btrfs-progs git:git gdb:gdb sqlite3:sqlite3 vim:vim node:nodejs musl-gcc:musl-tools redis-server:redis-server nginx:nginx-light java:default-jdk-headless chromium:chromium"
fi
missing=""
for pair in $need; do
	what=${pair%%:*}
	case $what in
	/*) [ -e "$what" ] || missing="$missing ${pair#*:}" ;;
	*) command -v "$what" >/dev/null 2>&1 || [ -x "/usr/sbin/$what" ] || missing="$missing ${pair#*:}" ;;
	esac
done
python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
if [ -n "$missing" ]; then
	if [ "$(id -u)" != 0 ]; then
		echo "peephole: these packages are missing:$missing; install them (apt-get install$missing) and run make again" >&2
		exit 1
	fi
	echo "installing$missing"
	apt-get update -qq >/dev/null
	# shellcheck disable=SC2086
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
	echo "peephole: Python 3.11 or newer is needed; python3 here is $(python3 --version)" >&2
	exit 1
}
[ -x .venv/bin/python ] || python3 -m venv .venv
stamp=.venv/.deps-$(sha256sum pyproject.toml | cut -c1-16)
if [ ! -e "$stamp" ]; then
	echo "installing Python packages into .venv"
	.venv/bin/python - >.venv/requirements.txt <<'PY'
import tomllib
p = tomllib.load(open("pyproject.toml", "rb"))
print(*p["build-system"]["requires"], *p["project"]["dependencies"], *p["project"]["optional-dependencies"]["dev"], sep="\n")
PY
	.venv/bin/pip install -q --disable-pip-version-check -r .venv/requirements.txt
	rm -f .venv/.deps-*
	: >"$stamp"
fi
if [ "${2:-}" = spark ] && ! .venv/bin/python -c 'import pyspark' 2>/dev/null; then
	.venv/bin/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["spark"], sep="\n")' \
		>.venv/requirements-spark.txt
	.venv/bin/pip install -q --disable-pip-version-check -r .venv/requirements-spark.txt
fi
PATH="$PWD/.venv/bin:/usr/sbin:$PATH" .venv/bin/pip install -q --disable-pip-version-check --no-deps --no-build-isolation \
	--force-reinstall --config-settings=build-dir=build .
# The certificates of the rules, so that the first tune needs no minutes. Proved anew only when the model or a rule changed.
.venv/bin/python -m peephole.prove.ship
