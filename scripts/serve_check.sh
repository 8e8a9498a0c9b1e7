#!/usr/bin/env bash
# Uses `lacuna serve` by clients as people have them: the openai package, curl, slowhttptest, wrk, a
# browser, and a soak. Needs a network for packages; CI does not run it (tests/server needs none).
#
#   scripts/serve_check.sh CHECKPOINT [SOAK_SECONDS]      # 600
#
# LACUNA_SERVE_OPTIONS: further options of the server, as "--threads 1".
# promtool (package prometheus), nginx, Caddy and systemd-analyze are used where they are installed.
# A checkpoint of a small model, as scripts/quickstart.sh makes one: some parts wait for hundreds of texts.
set -euo pipefail
cd "$(dirname "$0")/.."
checkpoint=${1:?usage: scripts/serve_check.sh CHECKPOINT [SOAK_SECONDS]}
soak=${2:-600}
lacuna=${LACUNA_PROGRAM:-build/cpu/bin/lacuna}
out=build/serve_check
mkdir -p "$out"
failed=0

missing=()
for pair in curl:curl wrk:wrk slowhttptest:slowhttptest chromium:chromium python3:python3-venv; do
  command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
if [ ${#missing[@]} -gt 0 ]; then
  root=()
  [ "$(id -u)" = 0 ] || root=(sudo)
  "${root[@]}" apt-get install --yes --no-install-recommends -qq "${missing[@]}" >/dev/null
fi
export PYTHONUNBUFFERED=1
python=$out/venv/bin/python
if [ ! -x "$python" ]; then
  python3 -m venv "$out/venv"
  "$python" -m pip install --quiet openai websocket-client
fi

say() { printf '\n== %s\n' "$*"; }
verdict() {  # verdict "what" command…
  local what=$1
  shift
  if "$@"; then echo "ok   $what"; else echo "FAIL $what"; failed=1; fi
}
start() {  # start [options…]: sets url, server
  # shellcheck disable=SC2086 — options are words
  "$lacuna" serve "$checkpoint" --port 0 ${LACUNA_SERVE_OPTIONS:-} "$@" >"$out/address" 2>"$out/log" &
  server=$!
  for _ in $(seq 600); do
    url=$(head -1 "$out/address")
    [ -n "$url" ] && curl --silent --fail --output /dev/null "$url/ready" && return
    sleep 0.1
  done
  cat "$out/log"
  return 1
}
stop() { kill "$server" 2>/dev/null && wait "$server"; }
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
post() { curl --silent --header 'Content-Type: application/json' "$@"; }
memory() { awk '/^VmRSS/ { print $2 }' "/proc/$server/status"; }
active() { curl --silent "$url/metrics" | awk '$1 == "lacuna_requests_active" { print $2 }'; }

say "the openai package, with a key"
echo secret >"$out/keys"
start --api-key-file "$out/keys" --max-sequences 16
"$python" scripts/serve_check/clients.py openai "$url" secret || failed=1
verdict "SIGTERM ends it well" stop

start
say "16 clients"
"$python" scripts/serve_check/clients.py batching "$url" || failed=1

say "clients that go away"
"$python" scripts/serve_check/clients.py gone "$url" || failed=1
body='{"prompt": "And it came to pass", "max_tokens": 200, "n": 64}'
post --max-time 1 --output /dev/null --data "$body" "$url/v1/completions" || true
sleep 0.3
verdict "curl --max-time 1: no request is active" [ "$(active)" = 0 ]

say "slow clients"
for mode in -H -B -X; do
  slowhttptest -c 200 $mode -i 1 -r 200 -l 12 -s 4096 -t GET -x 24 -p 2 -u "$url/health" >"$out/slow$mode" 2>&1 &
  slow=$!
  sleep 3
  took=$(post --max-time 20 --output /dev/null --write-out '%{http_code} %{time_total}' \
    --data '{"prompt": "a", "max_tokens": 16}' "$url/v1/completions" || true)
  wait $slow || true
  verdict "slowhttptest $mode with 200 connections; a good client's status and seconds: $took" [ "${took%% *}" = 200 ]
done
"$python" - "$url" <<'PYTHON' || failed=1
import socket, sys, time, urllib.request
host, port = sys.argv[1].split("//")[1].split(":")
idle = [socket.create_connection((host, int(port))) for _ in range(200)]
start = time.monotonic()
ok = urllib.request.urlopen(sys.argv[1] + "/health", timeout=20).status == 200
print(f"{'ok  ' if ok else 'FAIL'} 200 idle connections; a good client waits {1000 * (time.monotonic() - start):.0f} ms")
sys.exit(not ok)
PYTHON

say "/health while texts are generated"
waiting=()
for _ in 1 2 3 4; do
  post --max-time 12 --output /dev/null --data "$body" "$url/v1/completions" &
  waiting+=($!)
done
sleep 1
wrk --threads 1 --connections 8 --duration 10s --latency "$url/health" >"$out/wrk"
p99=$(awk '$1 == "99%" { print $2 }' "$out/wrk")
wait "${waiting[@]}" || true
case $p99 in
  *us) fast=1 ;;
  *ms) fast=$(awk -v p="${p99%ms}" 'BEGIN { print (p < 50) }') ;;
  *) fast=0 ;;
esac
verdict "wrk, 8 connections: p99 $p99, $(awk '/Requests\/sec/ { print $2 }' "$out/wrk") requests/s" [ "$fast" = 1 ]

say "metrics"
"$python" scripts/serve_check/clients.py metrics "$url" || failed=1

if command -v promtool >/dev/null; then
  curl --silent "$url/metrics" >"$out/metrics"
  verdict "promtool check metrics" promtool check metrics <"$out/metrics"
else
  echo "skip promtool: package prometheus is not installed"
fi

# The examples of docs/serving.md, with addresses of this machine.
example() {  # example "nginx:" FILE: the block of code behind a line
  awk -v name="$1" '$0 == name { at = 1 } at == 1 && /^```/ { at = 2; next } at == 2 && /^```/ { exit } at == 2' \
    docs/serving.md | sed "s|127.0.0.1:8080|${url#http://}|" >"$2"
  [ -s "$2" ]
}
free_port() { "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
through() {  # through NAME PORT: a stream through a proxy that has just been started
  for _ in $(seq 100); do
    curl --silent --fail --output /dev/null "http://127.0.0.1:$2/health" && break
    sleep 0.1
  done
  "$python" scripts/serve_check/clients.py proxy "http://127.0.0.1:$2" || { echo "FAIL $1"; failed=1; }
}
say "proxies, as docs/serving.md has them"
if command -v nginx >/dev/null; then
  example nginx: "$out/location.conf"
  port=$(free_port)
  cat >"$out/nginx.conf" <<NGINX
daemon off;
pid $PWD/$out/nginx.pid;
error_log $PWD/$out/nginx.log;
events {}
http {
  access_log off;
  client_body_temp_path $PWD/$out/nginx.body;
  proxy_temp_path $PWD/$out/nginx.proxy;
  fastcgi_temp_path $PWD/$out/nginx.fastcgi;
  uwsgi_temp_path $PWD/$out/nginx.uwsgi;
  scgi_temp_path $PWD/$out/nginx.scgi;
  server {
    listen 127.0.0.1:$port;
    include $PWD/$out/location.conf;
  }
}
NGINX
  nginx -e "$PWD/$out/nginx.log" -c "$PWD/$out/nginx.conf" &
  proxy=$!
  through nginx "$port"
  kill "$proxy"
else
  echo "skip nginx: it is not installed"
fi
if command -v caddy >/dev/null; then
  example Caddy: "$out/Caddyfile"
  port=$(free_port)
  sed -i "1i { \n  admin off\n}" "$out/Caddyfile"
  sed -i "s|^models.example.org|http://127.0.0.1:$port|" "$out/Caddyfile"
  XDG_DATA_HOME=$out/caddy XDG_CONFIG_HOME=$out/caddy caddy run --config "$out/Caddyfile" --adapter caddyfile 2>"$out/caddy.log" &
  proxy=$!
  through Caddy "$port"
  kill "$proxy"
else
  echo "skip Caddy: it is not installed"
fi
if command -v systemd-analyze >/dev/null; then
  example systemd: "$out/lacuna.service"
  sed -i "s|/usr/local/bin/lacuna|$(realpath "$lacuna")|" "$out/lacuna.service"
  verdict "systemd-analyze verify" systemd-analyze verify --man=no "$out/lacuna.service"
else
  echo "skip systemd-analyze: it is not installed"
fi

say "the page (pictures in $out/page)"
"$python" scripts/serve_check/page.py "$url" "$out/page" || failed=1

say "a soak of $soak seconds"
end=$((SECONDS + soak)) first='' rounds=0
while [ $SECONDS -lt $end ]; do
  for i in 1 2 3 4 5 6; do
    post --max-time 30 --output /dev/null --data \
      '{"prompt": "And the LORD", "max_tokens": '$((16 * i))', "temperature": 1, "stream": true}' "$url/v1/completions" &
    batch[i]=$!
  done
  post --max-time 0.2 --output /dev/null --data "$body" "$url/v1/completions" || true
  post --output /dev/null --data '{"text": "And {gap} the {gap:3}."}' "$url/v1/infill" || true
  post --output /dev/null --data '{"text": "In the beginning", "samples": 16}' "$url/v1/score" || true
  post --output /dev/null --data '{"top_p": 0.5}' "$url/v1/completions" || true
  wait "${batch[@]}" || true
  rounds=$((rounds + 1))
  if [ -z "$first" ] && [ $SECONDS -gt $((end - soak * 3 / 4)) ]; then first=$(memory); fi
done
last=$(memory)
verdict "$rounds rounds; memory $first kB after a quarter, $last kB in the end" [ "$last" -lt $((first + first / 20 + 2048)) ]
verdict "no request is left" [ "$(active)" = 0 ]
verdict "SIGTERM ends it well" stop
exit $failed
