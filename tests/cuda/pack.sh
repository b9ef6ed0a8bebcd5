#!/usr/bin/env bash
# Packs what on_gpu.sh needs besides CUDA and a compiler, on Debian 12 with network: headers and libraries of the Debian
# packages that the launcher lists, the King James text, and the commit.
#   tests/cuda/pack.sh        writes tests/cuda/packed/{libraries.tar.gz,commit}, at most 50 MiB; git ignores the folder
set -euo pipefail
cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../.."

most_bytes=$((50 << 20))
packed=tests/cuda/packed
fail() { printf 'error: pack.sh: %s\n' "$1" >&2; exit 5; }
for tool in apt-get dpkg objdump strip; do command -v $tool >/dev/null || fail "needs Debian's $tool"; done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/debs" "$work/root" "$work/tree/include" "$work/tree/lib"

# The launcher's list, less what only the tests of pages, properties and the emulator use; then what these need to run.
packages=()
eval "$(sed -n '/^packages=(/,/)/p' phasor)"
development=()
for package in "${packages[@]}"; do
  case $package in
    librapidcheck-dev | librandom123-dev | libcpp-httplib-dev | libboost-context-dev) ;;
    *-dev) development+=("$package") ;;
  esac
done
mapfile -t names < <(
  printf '%s\n' "${development[@]}" libopenblas-pthread-dev
  apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances \
    -i "${development[@]}" libopenblas-pthread-dev | grep -E '^z?lib' | sort -u |
    grep -vE -- '-dev$|^(libc6|libgcc|libstdc|libcrypt1|libopenblas0-(openmp|serial)|liblapack|libatlas|libblas|libmkl)'
)
mapfile -t names < <(printf '%s\n' "${names[@]}" | grep -vE '^libopenblas(64)?-dev$' | sort -u)
if ! (cd "$work/debs" && apt-get download "${names[@]}") >"$work/log" 2>&1; then
  cat "$work/log" >&2
  fail "apt-get download failed"
fi
for deb in "$work"/debs/*.deb; do dpkg -x "$deb" "$work/root"; done

# Headers: what lies in the folder of the architecture goes beside the others.
include=$work/root/usr/include
for folder in "$include"/x86_64-linux-gnu/openblas-pthread "$include"/x86_64-linux-gnu "$include"; do
  [[ ! -d $folder ]] || cp -rL "$folder"/. "$work/tree/include/"
done
rm -rf "$work/tree/include"/x86_64-linux-gnu "$work/tree/include"/openblas-pthread

# Libraries that the build links, and those that they need in turn; all but what every machine with a compiler has.
find_library() { find "$work/root" -name "$1" \( -type f -o -type l \) | head -n 1; }
add_library() {
  local file name needed
  file=$(find_library "$1")
  [[ -n $file ]] || fail "no package has $1"
  file=$(readlink -f "$file")
  name=$(objdump -p "$file" | awk '$1 == "SONAME" { print $2 }')
  [[ ! -e $work/tree/lib/$name ]] || return 0
  cp "$file" "$work/tree/lib/$name"
  for needed in $(objdump -p "$file" | awk '$1 == "NEEDED" { print $2 }'); do
    case $needed in
      libc.so.* | libm.so.* | libdl.so.* | libpthread.so.* | librt.so.* | ld-linux-* | libstdc++.so.* | libgcc_s.so.*) ;;
      *) add_library "$needed" ;;
    esac
  done
}
for library in tbb openblas fmt benchmark crypto zip; do add_library "lib$library.so.[0-9]*"; done
strip --strip-unneeded "$work"/tree/lib/*

# The corpus, as experiments/corpora/kjv.cpp prepares it; that file checks it again.
command -v bible >/dev/null || fail "needs the packages bible-kjv and bible-kjv-text"
bible -f 'Gen1:1-Rev22:21' | cut -d ' ' -f 2- >"$work/tree/kjv.txt"
sha256=$(sed -n 's/.*kjv_sha256 = "\(.*\)".*/\1/p' experiments/corpora/kjv.cpp)
printf '%s  %s\n' "$sha256" "$work/tree/kjv.txt" | sha256sum --check --quiet || fail "'bible' printed another text"

mkdir -p "$packed"
tar -C "$work/tree" --sort=name --owner=0 --group=0 --mtime=@0 -cf - . | gzip -9n >"$packed/libraries.tar.gz"
git describe --always --dirty >"$packed/commit"

bytes=$(stat -c %s "$packed/libraries.tar.gz")
newest=$(objdump -T "$work"/tree/lib/* | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1)
printf '%s: %.1f MiB, %d libraries, which need %s or newer\n' "$packed/libraries.tar.gz" \
  "$(awk -v bytes="$bytes" 'BEGIN { print bytes / 1048576 }')" "$(find "$work/tree/lib" -type f | wc -l)" "$newest"
((bytes <= most_bytes)) || fail "more than 50 MiB"
