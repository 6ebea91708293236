#!/bin/sh
# session.sh FILE TURNS [PIXELS]: xpdf under an X server of its own turns TURNS pages and is closed.
# With PIXELS, what the X server shows after every turn is kept there: PIXELS/N.xwd.
set -eu
file=$1 turns=$2 pixels=${3:-}
where=$(mktemp -d)
Xvfb -displayfd 3 -screen 0 900x1200x24 -nolisten tcp 3>"$where/display" 2>"$where/log" &
x=$!
trap 'kill "$x" 2>/dev/null || true; wait "$x" 2>/dev/null || true; rm -rf "$where"' EXIT
tries=0
while [ ! -s "$where/display" ]; do
	tries=$((tries + 1))
	[ "$tries" -lt 300 ] || { cat "$where/log" >&2; exit 1; }
	sleep 0.05
done
DISPLAY=:$(cat "$where/display")
export DISPLAY
xpdf -geometry 880x1150+0+0 -z page "$file" 2>"$where/xpdf" &
program=$!
timeout 30 xdotool search --sync --onlyvisible --class xpdf >"$where/window" || { cat "$where/xpdf" >&2; exit 1; }
timeout 10 xdotool mousemove --sync 400 600
if [ -n "$pixels" ]; then
	turn=0
	xwd -root -silent -out "$where/shown"
	while [ "$turn" -lt "$turns" ]; do
		xdotool key n
		turn=$((turn + 1))
		# Until another page is there, and nothing has changed for a while.
		cp "$where/shown" "$where/before"
		tries=0
		while [ "$tries" -lt 100 ]; do
			tries=$((tries + 1))
			cp "$where/shown" "$where/earlier"
			sleep 0.4
			xwd -root -silent -out "$where/shown"
			cmp -s "$where/shown" "$where/before" && continue
			cmp -s "$where/shown" "$where/earlier" && break
		done
		cp "$where/shown" "$pixels/$turn.xwd"
	done
else
	timeout 100 xdotool key --delay 60 --repeat "$turns" n
fi
xdotool key q
wait "$program"
