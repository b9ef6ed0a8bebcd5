#!/usr/bin/env bash
# Everything that needs a GPU, in under nine minutes: builds against what tests/cuda/pack.sh packed, runs all tests of
# the kernels, compute-sanitizer on the small ones, and the benchmarks beside PyTorch. Needs an NVIDIA driver, CUDA 12 or
# newer, CMake 3.25, g++, ninja or make; no network, no Debian. Prints one table, whatever happens, and leaves it in
# OUT (default build/on_gpu) as on_gpu.txt, with all logs and the numbers as JSON beside it.
#   tests/cuda/on_gpu.sh      exit code 1 if anything was wrong, 5 if something needed is missing
# PHASOR_GPU_SECONDS: how long it may take in all, default 530.
set -uo pipefail
cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../.." || exit

start=$(date +%s)
deadline=$((start + ${PHASOR_GPU_SECONDS:-530}))
out=${OUT:-build/on_gpu}
work=$PWD/build/on_gpu  # libraries and build; logs of the stages
mkdir -p "$out" "$work/logs"
out=$(readlink -f "$out")
rm -f "$work"/logs/*
table=$work/table.txt benches=$work/benches.txt
printf '' | tee "$table" >"$benches"
worst=0

row() { printf '%-20s %-60s %7s\n' "$1" "$2" "$3" | tee -a "$table"; }

# Runs a command for at most so many seconds of those that are left; its status is then in `status`, its seconds in
# `seconds`, its output in the log of its name. 124: it was stopped.
stage() {
  local name=$1 most=$2 from left
  shift 2
  from=$(date +%s) left=$((deadline - from))
  ((left < most)) && most=$left
  status=124
  if ((most > 2)); then
    timeout --kill-after=5 "$most" "$@" >"$work/logs/$name.log" 2>&1 </dev/null
    status=$?
    ((status != 137)) || status=124
  else
    printf 'no time left\n' >"$work/logs/$name.log"
  fi
  seconds=$(($(date +%s) - from))
}

# Why the stage that has just ended did not end well: its first error, or its last line.
why_not() {
  if ((status == 124)); then
    printf 'stopped, no time left'
  else
    { grep -iE -A 2 -m 1 'CMake Error|error' "$work/logs/$1.log" || last_line "$1"; } | tr -s '\n ' ' ' | cut -c 1-52
  fi
}
last_line() { tail -n 1 "$work/logs/$1.log" | cut -c 1-60; }
wrong() { ((worst != 0)) || worst=1; }

# What compiles in the background.
stop_torch() { [[ -z ${warming:-} ]] || kill "$warming" 2>/dev/null; }

finish() {
  trap - EXIT
  local gpu commit
  stop_torch
  gpu=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null | head -n 1)
  commit=$(git describe --always --dirty 2>/dev/null || cat tests/cuda/packed/commit 2>/dev/null || echo unknown)
  {
    printf 'Phasor on a GPU: %s, %s, commit %s\n' "$(date +%F)" \
      "${gpu:+${gpu/, /, driver }}${gpu:-no GPU found}" "$commit"
    printf 'CUDA %s, %s, %s s in all\n\n' "${nvcc_version:-not found}" "${torch:-no PyTorch}" "$(($(date +%s) - start))"
    printf '%-20s %-60s %7s\n' stage result seconds
    cat "$table"
    cat "$benches"
  } >"$out/on_gpu.txt"
  (cd "$work/logs" && tail -n +1 -- *.log) >"$out/logs.txt" 2>/dev/null
  printf '\n'
  cat "$out/on_gpu.txt"
  exit "$worst"
}
trap finish EXIT
trap 'worst=143; exit' TERM INT

stop() {
  row "$1" "$2" "${3:-0}"
  worst=${4:-5}
  exit
}

# ---- What is needed

export PATH=$PATH:/usr/local/cuda/bin
command -v nvcc >/dev/null || stop needed "no nvcc: install the CUDA toolkit, 12 or newer"
nvcc_version=$(nvcc --version | sed -n 's/.*release \([0-9.]*\).*/\1/p')
((${nvcc_version%%.*} >= 12)) || stop needed "nvcc is $nvcc_version: needs 12 or newer"
command -v cmake >/dev/null || stop needed "no cmake: install 3.25 or newer"
cmake_version=$(cmake --version | sed -n '1s/.* //p')
printf '3.25\n%s\n' "$cmake_version" | sort -CV || stop needed "cmake is $cmake_version: needs 3.25 or newer"
[[ -e tests/cuda/packed/libraries.tar.gz ]] || stop needed "no libraries: run tests/cuda/pack.sh where Debian is"
capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 | tr -d .)
architecture=${capability:-${CUDAARCHS:-}}
[[ -n $architecture ]] || stop needed "no GPU: nvidia-smi lists none (CUDAARCHS=90 builds all the same)"
torch=''
if python3 -c 'import torch; assert torch.cuda.is_available()' >/dev/null 2>&1; then
  torch=$(python3 -c 'import torch; print("PyTorch", torch.__version__)')
fi

# ---- Build

unpack_and_configure() {
  rm -rf "$work/libraries" && mkdir -p "$work/libraries" || return
  tar -C "$work/libraries" -xzf tests/cuda/packed/libraries.tar.gz || return
  local generator='Unix Makefiles'
  ! command -v ninja >/dev/null || generator=Ninja
  cmake --preset cuda -B "$work/build" -G "$generator" "-DCMAKE_CUDA_ARCHITECTURES=$architecture" \
    -DCMAKE_PROJECT_TOP_LEVEL_INCLUDES="$PWD/tests/cuda/packed.cmake" -DPHASOR_PACKED="$work/libraries"
}
export -f unpack_and_configure
export work architecture
# The library of the kernels first: some of its files take longest.
build() {
  for target in phasor_core phasor_gpu_tests; do
    cmake --build "$work/build" --target $target -j "$(nproc)" || return
  done
}
export -f build

stage configure 60 bash -c unpack_and_configure
((status == 0)) || stop configure "FAILED: $(why_not configure)" "$seconds" 1
row configure ok "$seconds"
stage build 300 bash -c build
((status == 0)) || stop build "FAILED: $(why_not build)" "$seconds" 1
row build ok "$seconds"

# ---- Correctness

phasor=$work/build/phasor tests=$work/build/phasor_gpu_tests
export PHASOR_CACHE=$work/libraries TORCHINDUCTOR_CACHE_DIR=$work/torch TRITON_CACHE_DIR=$work/triton
if [[ -n $torch ]]; then
  # Compiles what PyTorch will be asked for, on the CPU's free cores.
  PHASOR_TORCH_DEADLINE=$((deadline - 200)) python3 experiments/bench/torch_gpu.py --warm \
    >"$work/logs/torch_warm.log" 2>&1 </dev/null &
  warming=$!
fi

stage tests 150 "$tests" --source-file='*tests/ops/*,*tests/cuda/*'
result=$(last_line tests)
if [[ $result =~ ^[0-9]+' passed, 0 failed'$ ]] && ((status == 0)); then
  row tests "$result" "$seconds"
else
  wrong
  ((status != 124)) || result="stopped after $(grep -c 'TEST CASE' "$work/logs/tests.log") failures"
  ((status <= 1 || status == 124)) || result="ended early, exit code $status"
  row tests "FAILED: $result" "$seconds"
fi

# The tests of single kernels, in a tool that watches each access.
sanitize() {
  compute-sanitizer --tool "$1" --error-exitcode 86 --print-limit 20 "$tests" --test-suite-exclude=full \
    --source-file='*tests/cuda/*' --test-case-exclude='*bench*,*train*,*encoding*,*program*'
}
export -f sanitize
export tests
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck; do
    stage "$tool" 45 bash -c "sanitize $tool"
    errors=$(grep -cE '^=+ (Invalid|Error|Race|Program hit|Misaligned|.*hazard)' "$work/logs/$tool.log")
    if grep -qi 'not supported\|failed to initialize' "$work/logs/$tool.log"; then
      row "$tool" "the tool does not work on this machine" "$seconds"
    elif ((errors > 0 || status == 86)); then
      wrong
      row "$tool" "FAILED: $errors errors" "$seconds"
    elif ((status == 124)); then
      row "$tool" "no errors until it was stopped" "$seconds"
    elif ((status != 0)); then
      wrong
      row "$tool" "FAILED: exit code $status, $(last_line "$tool" | cut -c 1-28)" "$seconds"
    else
      row "$tool" "no errors, $(last_line "$tool")" "$seconds"
    fi
  done
else
  row memcheck "compute-sanitizer is not on this machine" 0
  row racecheck "compute-sanitizer is not on this machine" 0
fi

# ---- Benches

# With PyTorch where it is; without it, if that takes too long.
bench() {
  local name=$1 most=$2 log=$work/logs/bench_$1.log
  local command=("$phasor" bench "${@:3}" --device cuda --json "$out/$1.json")
  stage "bench_$name" "$most" "${command[@]}" "${against[@]}"
  if ((status != 0 && ${#against[@]} > 0)); then
    row "bench $name" "beside PyTorch: $(why_not "bench_$name")" "$seconds"
    mv "$log" "$work/logs/bench_${name}_torch.log"
    stage "bench_$name" 40 "${command[@]}"
  fi
  if ((status != 0)); then
    wrong
    row "bench $name" "FAILED: $(why_not "bench_$name")" "$seconds"
    return
  fi
  if grep -q '^FAILED' "$log"; then
    wrong
    row "bench $name" "FAILED: some numbers are wrong, see below" "$seconds"
  else
    row "bench $name" ok "$seconds"
  fi
  { printf '\n' && cat "$log"; } >>"$benches"
}
against=()
if [[ -n $torch ]]; then
  export PHASOR_TORCH_DEADLINE=$((deadline - 40))
  # While it compiles, nothing else is timed beside it.
  from=$(date +%s)
  while kill -0 "$warming" 2>/dev/null && (($(date +%s) < from + 60 && $(date +%s) < deadline - 150)); do sleep 1; done
  stop_torch
  row "PyTorch compiles" "$(grep -c ' s  {' "$work/logs/torch_warm.log") tasks ready" "$(($(date +%s) - from))"
fi
bench ops 70 ops
[[ -z $torch ]] || against=(--against torch)
bench step_width_256 70 step reference --set train.precision=bf16
bench step_124M 90 step 124M
bench attention 120 attention
