#!/usr/bin/env bash
# Provides the programs that the tests, the benchmarks, `make demo` and `make dev-up` start, in bin/:
#
#   hack/build-tools.sh NAME...     etcd kube-apiserver kube-controller-manager kube-scheduler kubectl kwok registry crane
#                                   helm3 helm4 flux-apply regctl oras
#
# The Go modules under hack/tools pin their versions. Each program comes from the first source that has exactly its version: bin/
# as it is, the folder $KUBEBUILDER_ASSETS, the releases of Kubernetes (hack/download; TOOLS_FROM=build skips them), a build.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
bin=$root/bin
unset GOOS GOARCH # these programs run here, whatever the caller cross-compiles
# The flags are those of the Makefile, so that a package that several programs share is compiled once.
export CGO_ENABLED=0 GOWORK=off GOFLAGS="-buildvcs=false -trimpath -gcflags=all=-dwarf=false"

say() { echo "tools: $*" >&2; }
die() { say "$*"; exit 1; }

# describe NAME sets folder (under hack/tools), module (whose version counts), package, and minutes: roughly what a
# first build takes on 2 cores.
describe() {
  case $1 in
  etcd) folder=controlplane module=go.etcd.io/etcd/server/v3 package=$module minutes=2 ;;
  kube-apiserver) kubernetes "$1" 5 ;;
  kube-controller-manager) kubernetes "$1" 2 ;;
  kube-scheduler | kubectl) kubernetes "$1" 1 ;;
  kwok) folder=controlplane module=sigs.k8s.io/kwok package=$module/cmd/kwok minutes=1 ;;
  registry) folder=controlplane module=github.com/distribution/distribution/v3 package=$module/cmd/registry minutes=1 ;;
  crane) folder=controlplane module=github.com/google/go-containerregistry package=$module/cmd/crane minutes=1 ;;
  flux-apply) folder=flux module=github.com/fluxcd/pkg/ssa package=. minutes=2 ;;
  helm3) folder=helm3 module=helm.sh/helm/v3 package=$module/cmd/helm minutes=3 ;;
  helm4) folder=helm4 module=helm.sh/helm/v4 package=$module/cmd/helm minutes=3 ;;
  regctl) folder=peers module=github.com/regclient/regclient package=$module/cmd/regctl minutes=1 ;;
  oras) folder=peers module=oras.land/oras package=$module/cmd/oras minutes=1 ;;
  *) die "there is no tool called '$1'; see the head of hack/build-tools.sh" ;;
  esac
}
kubernetes() { folder=controlplane module=k8s.io/kubernetes package=k8s.io/kubernetes/cmd/$1 minutes=$2; }

# pinned prints the version that hack/tools wants of the described module.
pinned() {
  (cd "$root/hack/tools/$folder" && go list -m -f '{{.Version}}' "$module") ||
    die "cannot read the version of $module from hack/tools/$folder/go.mod"
}

# reports NAME FILE VERSION: does the program itself say that it is that version?
reports() {
  local flag=--version
  case $1 in kubectl) flag="version --client" ;; crane | regctl | oras) flag=version ;; esac
  [[ -x $2 ]] && "$2" $flag 2>/dev/null | tr -s ' \t' '\n' | grep -qxF -e "$3" -e "${3#v}"
}

# present NAME VERSION: is it in bin/ already? A link may have come to lead to something else, so it is asked again.
present() {
  local file=$bin/$1
  [[ -x $file && $(cat "$bin/.$1.version" 2>/dev/null) == "$2" ]] || return 1
  [[ $1 != kwok || -s $bin/kwok.yaml ]] || return 1
  [[ ! -L $file ]] || reports "$1" "$file" "$2"
}

# link NAME VERSION takes the program from $KUBEBUILDER_ASSETS, if the version is the right one.
link() {
  local file=${KUBEBUILDER_ASSETS:-}/$1
  [[ -n ${KUBEBUILDER_ASSETS:-} ]] && reports "$1" "$file" "$2" || return 1
  ln -sf "$file" "$bin/$1"
}

# download NAME... writes those programs to $downloads that their releases have. If it cannot reach them, it takes a few seconds.
download() {
  local release
  [[ ${TOOLS_FROM:-} != build && " $*" =~ " "(etcd|kube) ]] || return 0
  release=$(folder=controlplane module=k8s.io/kubernetes && pinned)
  (cd "$root" && go run ./hack/download "$downloads" "$release" "$@") || say "nothing is downloaded"
  row '(download)' '' ''
}

# downloaded NAME VERSION takes the program from $downloads, if the version is the right one.
downloaded() {
  [[ -e $downloads/$1 ]] || return 1
  reports "$1" "$downloads/$1" "$2" || { say "the $1 that was downloaded is not $2"; return 1; }
  mv -f "$downloads/$1" "$bin/$1"
}

# ldflags VERSION: Kubernetes programs say v0.0.0 unless they are told, and clients then take them for ancient.
ldflags() {
  local v=k8s.io/component-base/version flags="-s -w"
  if [[ $module == k8s.io/kubernetes ]]; then
    flags="$flags -X $v.gitVersion=$1 -X $v.gitMajor=1 -X $v.gitMinor=$(cut -d. -f2 <<<"$1")"
  fi
  echo "$flags"
}

# build NAME VERSION POSITION. The program is moved into place when it is complete, so that a build that is
# interrupted, or runs twice, leaves nothing half done.
build() {
  local name=$1 version=$2 partial=$bin/.$1.$$ log=$bin/.$1.log seconds=0
  say "building $name $version ($3), about $minutes min"
  (cd "$root/hack/tools/$folder" && exec go build -ldflags="$(ldflags "$version")" -o "$partial" "$package") >"$log" 2>&1 &
  builder=$!
  while kill -0 "$builder" 2>/dev/null; do
    sleep 1
    seconds=$((seconds + 1))
    if ((seconds % 15 == 0)); then say "  $name: $((seconds / 60)) min $((seconds % 60)) s"; fi
  done
  wait "$builder" || { tail -n 20 "$log" >&2; die "$name $version could not be built; the whole output is in $log"; }
  builder=
  mv -f "$partial" "$bin/$name" && rm -f "$log"
}

# complete NAME VERSION SOURCE notes that the program is in bin/.
complete() {
  [[ $1 != kwok ]] || stages
  echo "$2" >"$bin/.$1.version"
  row "$@"
}

# cpu sets $used to the processor seconds of all commands that have ended. A subshell would count its own only.
cpu() {
  local _ user system
  times >"$bin/.times.$$"
  { read -r _ _; read -r user system; } <"$bin/.times.$$"
  used=$(awk -v u="$user" -v s="$system" 'BEGIN { split(u, a, /[ms]/); split(s, b, /[ms]/); printf "%d", 60 * (a[1] + b[1]) + a[2] + b[2] }')
}

# row NAME VERSION SOURCE adds a row to the table: the seconds since the last row, by the clock and of the processor.
row() {
  cpu
  rows+=$(line "$@" "$((SECONDS - clock))" "$((used - before))")$'\n'
  clock=$SECONDS before=$used
}
line() { printf '%-24s %-8s %-20s %7s %7s' "$@"; }

# stages writes bin/kwok.yaml: how kwok's nodes and pods become Ready. Without stages kwok ends at once.
stages() {
  local source stage file
  (cd "$root/hack/tools/controlplane" && go mod download "$module") || die "cannot download $module"
  source=$(cd "$root/hack/tools/controlplane" && go list -m -f '{{.Dir}}' "$module")/kustomize/stage
  for stage in node/fast node/heartbeat-with-lease pod/fast; do
    for file in "$source/$stage"/*.yaml; do
      [[ $file == */kustomization.yaml ]] || { echo ---; cat "$file"; }
    done
  done >"$bin/.kwok.yaml.$$"
  mv -f "$bin/.kwok.yaml.$$" "$bin/kwok.yaml"
}

(($#)) || die "usage: hack/build-tools.sh NAME..."
command -v go >/dev/null || die "Go is needed: https://go.dev/doc/install"
mkdir -p "$bin"
builder=''
trap '[[ -z $builder ]] || kill "$builder" 2>/dev/null; rm -rf "$bin"/.*.$$' EXIT
trap 'exit 130' INT TERM

missing=() position=0 total=0 rows='' clock=0 before=0 downloads=$bin/.downloads.$$
for name in "$@"; do
  describe "$name"
  version=$(pinned)
  if present "$name" "$version"; then continue; fi
  rm -f "$bin/.$name.version"
  if link "$name" "$version"; then complete "$name" "$version" KUBEBUILDER_ASSETS; continue; fi
  missing+=("$name") total=$((total + minutes))
done
if ((total > 0)); then
  say "${#missing[@]} to provide; building takes up to $total min, once, on 2 cores, and a fraction of it on more"
  download "${missing[@]}"
fi
for name in ${missing[@]+"${missing[@]}"}; do
  describe "$name"
  version=$(pinned) position=$((position + 1))
  if downloaded "$name" "$version"; then complete "$name" "$version" downloaded; continue; fi
  build "$name" "$version" "$position of ${#missing[@]}"
  complete "$name" "$version" built
done
if [[ -n $rows ]]; then
  say "all there, in bin/; seconds by the clock and of the processor:"
  { line program version source clock cpu; printf '\n%s' "$rows"; line total '' '' "$clock" "$before"; echo; } >&2
fi
