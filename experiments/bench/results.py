#!/usr/bin/env python3
"""Runs every benchmark and prints its numbers as Markdown, for RESULTS.md:

    experiments/bench/results.py > new_results.md        (nothing else should use the machine; about ten minutes)

--quick takes tiny sizes, to see what it prints. PyTorch runs beside `step` if Python has it.
"""
import datetime
import json
import pathlib
import subprocess
import sys
import tempfile

root = pathlib.Path(__file__).resolve().parents[2]
benchmarks = (
    ["step", "reference", "small", "tiny", "large"],
    ["attention"],
    ["ops"],
    ["gemm"],
    ["memory"],
    ["scaling"],
)


def output_of(*command):
    return subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def phasor_bench(arguments, folder):
    """The JSON of one benchmark; its text goes to stderr."""
    file = pathlib.Path(folder) / "bench.json"
    command = [root / "phasor", "bench", *arguments, "--json", file]
    if arguments[0] == "scaling":
        command += ["--out", pathlib.Path(folder) / "scaling.html"]
    subprocess.run(command, cwd=root, check=True, stdout=sys.stderr)
    return json.loads(file.read_text())


def with_torch(arguments, folder):
    """The same with PyTorch; without it where Python has none (exit code 2)."""
    try:
        return phasor_bench([*arguments, "--against", "torch"], folder)
    except subprocess.CalledProcessError as error:
        if error.returncode != 2:
            raise
        return phasor_bench(arguments, folder)


def cell(name, value):
    if value is None:
        return ""
    if name == "spread %":
        return f"{value:.1f}" + (" noisy" if value > 10 else "")
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def markdown(group):
    rows = []
    for row in group["rows"]:
        numbers = {key: value for key, value in row.items() if key not in ("name", "repetitions", "noisy")}
        if "seconds" in numbers:
            numbers = {"ms": numbers.pop("seconds") * 1e3, "spread %": numbers.pop("spread") * 100, **numbers}
        rows.append((row["name"], numbers))
    columns = list(dict.fromkeys(name for _, numbers in rows for name in numbers))
    lines = ["| " + group["title"] + " | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    for name, numbers in rows:
        lines.append("| " + " | ".join([name, *(cell(column, numbers.get(column)) for column in columns)]) + " |")
    return "\n".join([*lines, "", *group["remarks"]]).rstrip()


def main():
    quick = ["--quick"] if sys.argv[1:] == ["--quick"] else []
    if sys.argv[1:] != quick:
        sys.exit(__doc__)
    commit = output_of("git", "describe", "--always", "--dirty")
    parts = []
    with tempfile.TemporaryDirectory() as folder:
        for arguments in benchmarks:
            run = with_torch if arguments[0] == "step" else phasor_bench
            result = run([*arguments, *quick], folder)
            machine = result["machine"]
            parts.append(f"### {result['bench']}\n\n" + "\n".join(result["notes"]))
            parts += [markdown(group) for group in result["groups"]]
    print(f"## {datetime.date.today()}, {machine['processor']}, commit {commit}\n")
    print(
        f"{machine['threads']} threads of {machine['cores']} cores, {machine['compiler']}, "
        f"OpenBLAS's kernels for {machine['blas_core']}.\n"
    )
    print("\n\n".join(parts))


if __name__ == "__main__":
    main()
