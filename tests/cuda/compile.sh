#!/usr/bin/env bash
# Compiles cuda/ for sm_80 and sm_90 with warnings as errors and prints what ptxas reports of each kernel: registers,
# and bytes that did not fit into them ("spills"). A kernel that matches a line of no_spills.txt may have none.
#   tests/cuda/compile.sh                         all files, two at a time; PHASOR_JOBS=N for another number
#   tests/cuda/compile.sh cuda/ops/softmax.cu     these files
# Every variant of every kernel stands in build/cuda-compile/kernels.txt. Ends with "compile: N passed, N failed",
# counting files and lines of no_spills.txt; exit code 1 if one failed, 5 without nvcc 12 or newer.
set -euo pipefail
cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../.."

nvcc=$(PATH=$PATH:/usr/local/cuda/bin command -v nvcc) || { printf 'error: compile.sh: no nvcc found\n' >&2; exit 5; }
out=build/cuda-compile
rm -rf "$out"
mkdir -p "$out"

files=("$@")
if (($# == 0)); then mapfile -t files < <(ls -S cuda/*.cu cuda/ops/*.cu); fi  # long ones first: the last wait is short

# No kernel asks for the architecture: then one PTX serves both, which saves a fifth of the time.
architectures='-gencode=arch=compute_80,code=[sm_80,sm_90]'
if grep -rq __CUDA_ARCH__ cuda; then
  architectures='-gencode=arch=compute_80,code=sm_80 -gencode=arch=compute_90,code=sm_90'
fi

# One file: its object is thrown away, what ptxas says is kept. NDEBUG as in a release build.
compile() {
  local name TIMEFORMAT='%U %S'
  name=$(basename -- "$1" .cu)
  # shellcheck disable=SC2054,SC2206  # these commas are nvcc's; $architectures may be two words
  local flags=(-std=c++20 -DNDEBUG -DPHASOR_CUDA -I. --expt-relaxed-constexpr -Werror=all-warnings
    -Xcompiler=-Wall,-Wextra,-ffp-contract=off -Xptxas=-v $architectures)
  if { time "$nvcc" "${flags[@]}" -c "$1" -o "$out/$name.o" >"$out/$name.log" 2>&1; } 2>"$out/$name.time"; then
    touch "$out/$name.good"
    c++filt -p <"$out/$name.log" >"$out/$name.ptxas"
  fi
  rm -f "$out/$name.o"
  awk -v file="$1" '{ printf "%-46s %4.0f s\n", file, $1 + $2 }' "$out/$name.time"
}
export -f compile
export nvcc out architectures
printf '%s\n' "${files[@]}" | xargs -P "${PHASOR_JOBS:-2}" -I{} bash -c 'compile {}'

passed=0 failed=0
for file in "${files[@]}"; do
  name=$(basename -- "$file" .cu)
  if [[ -e $out/$name.good ]]; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    printf 'FAILED %s\n' "$file"
    grep -v '^ptxas info\|bytes stack frame' "$out/$name.log" | head -40
  fi
done

# file, architecture, registers, bytes spilled, bytes of stack, kernel with its template arguments
for log in "$out"/*.ptxas; do
  [[ -e $log ]] || continue
  awk -v file="$(basename -- "$log" .ptxas)" '
    /Compiling entry function/ {
      kernel = $0; sub(/^[^\047]*\047/, "", kernel); sub(/\047 for \047.*/, "", kernel)
      gsub(/phasor::cuda::|phasor::|\(anonymous namespace\)::/, "", kernel)
      architecture = $0; sub(/.* for \047/, "", architecture); sub(/\047.*/, "", architecture)
      registers = spilled = stack = 0
    }
    /bytes stack frame/ { stack = $1; spilled = $5 + $9 }
    /Used [0-9]+ registers/ {
      for (i = 1; i < NF; ++i) if ($i == "Used") registers = $(i + 1)
      if (!((architecture, kernel) in seen)) print file, architecture, registers, spilled, stack, kernel
      seen[architecture, kernel] = 1
    }' "$log"
done >"$out/kernels.txt"

awk '
  {
    name = $6; sub(/<.*/, "", name)
    key = sprintf("%-28s %-44s %s", $1, name, $2)
    if (!(key in count)) { order[++keys] = key; least[key] = $3 }
    ++count[key]
    if ($3 < least[key]) least[key] = $3
    if ($3 > most[key]) most[key] = $3
    if ($4 > 0) { ++spilling[key]; if ($4 > spilled[key]) spilled[key] = $4 }
  }
  END {
    printf "%-28s %-44s %-6s %8s %10s %s\n", "file", "kernel", "arch", "variants", "registers", "spills"
    for (i = 1; i <= keys; ++i) {
      key = order[i]
      spills = spilling[key] ? spilling[key] " variants, up to " spilled[key] " bytes" : "none"
      registers = least[key] == most[key] ? most[key] : least[key] ".." most[key]
      printf "%s %8d %10s %s\n", key, count[key], registers, spills
    }
  }' "$out/kernels.txt"

# FILE: KERNEL<ARGUMENTS>  [architecture, registers, bytes spilled], of those that the list may name.
awk '!/double/ || / map_kernel</ {
    kernel = $0
    for (i = 0; i < 5; ++i) sub(/^[^ ]+ /, "", kernel)
    printf "%s: %s  [%s, %s registers, %s bytes]\n", $1, kernel, $2, $3, $4
  }' "$out/kernels.txt" >"$out/looked_at.txt"
while IFS= read -r pattern; do
  [[ -n $pattern && $pattern != '#'* ]] || continue
  if spilling=$(grep -E -- "^$pattern" "$out/looked_at.txt" | grep -v ', 0 bytes\]$'); then
    failed=$((failed + 1))
    printf 'FAILED no_spills.txt: %s spills\n%s\n' "$pattern" "$spilling"
  elif grep -qE -- "^$pattern" "$out/looked_at.txt"; then
    passed=$((passed + 1))
  elif (($# == 0)); then  # with files named, a line that matches nothing says nothing
    failed=$((failed + 1))
    printf 'FAILED no_spills.txt: no kernel matches %s\n' "$pattern"
  fi
done <tests/cuda/no_spills.txt

printf 'compile: %d passed, %d failed\n' "$passed" "$failed"
((failed == 0))
