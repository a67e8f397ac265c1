#!/usr/bin/env python3
"""Static gates of the CUDA kernels; they need nvcc and no card.

Usage: cuda_gates.py [--root DIR] [--cache DIR] [--jobs N] [--list] [--self-test] [FILE.cu ...]

Every kernel file is compiled for all cards of the module with warnings as errors. It fails if
  - a hot kernel (HOT below) spills registers, uses local memory or more registers than its budget,
  - the PTX of a hot kernel lacks what makes it fast: 16-byte loads, tensor core products, cp.async,
  - a line of HOT matches no kernel, so that a new name cannot slip by,
  - a file takes more than 30 s of processor time to compile (of all its targets together).
--list prints registers and PTX features of all kernels. With --cache a file is compiled again only if
it, what it includes or the compiler has changed. Exit status 77: skipped, there is no nvcc.
"""

import argparse
import concurrent.futures
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

EXIT_SKIP = 77
MAX_COMPILE_SECONDS = 30.0
TARGETS = [("compute_80", "sm_80"), ("compute_90", "sm_90"), ("compute_100", "sm_100")]
FLAGS = ["-std=c++20", "-O3", "-DNDEBUG", "-Xcompiler=-fPIC", "-Werror=all-warnings"]

PTX_FEATURES = {
    "v4": re.compile(r"\bld\.global[.\w:]*\.v4\b|\bcp\.async\.cg\b"),
    "mma": re.compile(r"\bmma\.sync\b"),
    "cp.async": re.compile(r"\bcp\.async\.c[ag]\b"),
    "local": re.compile(r"^\s*\.local\b|\b(ld|st)\.local\b", re.MULTILINE),
}


@dataclasses.dataclass(frozen=True)
class Hot:
    """Instances of a kernel on which speed hangs."""
    pattern: str  # The whole name without namespaces: r"SplitVector<\w+, 128, 8>".
    registers: int  # Most, on any target.
    needs: tuple = ()  # Of PTX_FEATURES.


# Budgets are the steps of occupancy: a multiprocessor has 65,536 registers, so that with blocks of 128
# threads 64 let 8 blocks run, 80 six, 128 four, 168 three and 255 two.
TILE = ("v4", "cp.async", "mma")
HOT = [
    # Attention of decodes: a row alone, and the heads of a kv head together.
    Hot(r"SplitVector<\w+, \d+, 1, (true|false)>", 64, ("v4",)),
    Hot(r"SplitVector<\w+, \d+, 2, false>", 96, ("v4",)),
    Hot(r"SplitVector<\w+, \d+, 4, false>", 128, ("v4",)),
    Hot(r"SplitVector<\w+, \d+, 8, false>", 255, ("v4",)),
    Hot(r"SplitMatrix<\w+, 64, (true|false), false>", 168, TILE),
    Hot(r"SplitMatrix<\w+, 128, (true|false), false>", 255, TILE),
    Hot(r"SplitMatrix<\w+, 256, false, false>", 255, TILE),
    # The same for the rows of trees.
    Hot(r"SplitMatrix<\w+, 64, (true|false), true>", 168, TILE),
    Hot(r"SplitMatrix<\w+, 128, (true|false), true>", 255, TILE),
    Hot(r"SplitMatrix<\w+, 256, false, true>", 255, TILE),
    Hot(r"SplitMerge<\w+>", 64),
    # Attention of prefill and of images, and its column sums.
    Hot(r"TileAttentionKernel<\w+, (64|80), (true|false)>", 168, TILE),
    Hot(r"TileAttentionKernel<\w+, 128, (true|false)>", 255, TILE),
    Hot(r"TileProbabilitiesKernel<\w+, \d+, (true|false)>", 168, TILE),
    Hot(r"VisionTileKernel<\w+, (32|64|80|96)>", 168, TILE),
    Hot(r"VisionTileKernel<\w+, 128>", 255, TILE),
    # Rows and slots, where 16 bytes are taken at a time: bandwidth is all that counts.
    Hot(r"(RmsNorm|LayerNorm)Kernel<true, \w+>", 64, ("v4",)),
    Hot(r"(Add|ScaleAndClamp|GatedActivation)Kernel<true, \w+>", 64, ("v4",)),
    Hot(r"BiasActivationKernel<true, \w+, \w+>", 64, ("v4",)),
    Hot(r"WriteKvKernel<true, \w+, \w+>", 64, ("v4",)),
    Hot(r"(CopyRows|Embed|GatherCopy|MovePages)Kernel<uint4>", 64, ("v4",)),
    # 1,024 threads a row: more than 64 registers do not start.
    Hot(r"(DrawTokens|GatherLogprobs|HeadTile)Kernel", 64),
]


@dataclasses.dataclass
class Kernel:
    """What the compiler says of one instance: by target registers and spilled bytes."""
    name: str  # "prefixd::cuda::(anonymous namespace)::Kernel<float, 64>".
    registers: dict = dataclasses.field(default_factory=dict)
    spills: dict = dataclasses.field(default_factory=dict)
    features: list = dataclasses.field(default_factory=list)

    def short(self):
        return re.sub(r"(\(anonymous namespace\)|\w+)::", "", self.name)


def demangle(names):
    if not names:
        return {}
    text = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True,
                          check=True).stdout
    plain = (re.sub(r"\)\s*$", "", line) for line in text.splitlines())
    # "void f<int>(arguments" -> "f<int>"
    return {name: strip_signature(line) for name, line in zip(names, plain)}


def strip_signature(text):
    """The qualified name of a demangled function, with its template arguments."""
    text = text.removeprefix("void ")
    depth = 0
    for i, c in enumerate(text):
        if c == "<":
            depth += 1
        elif c == ">":
            depth -= 1
        elif c == "(" and depth == 0 and not text.startswith("(anonymous namespace)", i):
            return text[:i]
    return text


def parse_ptxas(text):
    """(mangled name, target) -> (registers, spilled bytes) of the output of ptxas -v."""
    found, current, spilled = {}, None, 0
    for line in text.splitlines():
        if match := re.search(r"Compiling entry function '(\w+)' for '(sm_\w+)'", line):
            current, spilled = match.groups(), 0
        elif match := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line):
            spilled = int(match[1]) + int(match[2])
        elif (match := re.search(r"Used (\d+) registers", line)) and current:
            found[current] = (int(match[1]), spilled)
            current = None
    return found


def parse_ptx(text):
    """Mangled name -> features of each kernel in a PTX file."""
    found = {}
    for match in re.finditer(r"\.entry (\w+)\(.*?\n\{(.*?)\n\}", text, re.DOTALL):
        found[match[1]] = sorted(f for f, p in PTX_FEATURES.items() if p.search(match[2]))
    return found


def inputs_of(root, path, seen):
    """The file and what it includes of ours, as far as includes go."""
    if path in seen or not path.is_file():
        return seen
    seen.add(path)
    for name in re.findall(r'^\s*#\s*include\s*"([^"]+)"', path.read_text(), re.MULTILINE):
        inputs_of(root, root / name, seen)
        inputs_of(root, path.parent / name, seen)
    return seen


def compile_file(nvcc, root, source):
    """Returns {"seconds": ..., "kernels": [...]} or {"error": text}."""
    with tempfile.TemporaryDirectory() as folder:
        command = [nvcc, *FLAGS, f"-I{root}", "-Xptxas=-v", "--keep", f"--keep-dir={folder}", "-c",
                   str(source), "-o", f"{folder}/out.o"]
        for compute, code in TARGETS:
            command.append(f"-gencode=arch={compute},code=[{code}"
                           f"{',compute_90' if compute == 'compute_90' else ''}]")
        log = pathlib.Path(folder) / "log"
        with log.open("w") as out:
            # wait4 counts the compilers that nvcc started and waited for.
            child = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=root)
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        text = log.read_text()
        if child.returncode != 0:
            return {"error": text}
        kernels = {}
        measured = parse_ptxas(text)
        plain = demangle(sorted({name for name, _ in measured}))
        for (name, target), (registers, spilled) in measured.items():
            kernel = kernels.setdefault(name, Kernel(plain[name]))
            kernel.registers[target], kernel.spills[target] = registers, spilled
        ptx_files = sorted(pathlib.Path(folder).glob("*.ptx"))
        for ptx in ptx_files:
            for name, features in parse_ptx(ptx.read_text()).items():
                if name in kernels:
                    kernels[name].features.append(features)
        merged = []
        for kernel in kernels.values():
            # Present in every target's code; local memory: in any.
            every = set.intersection(*map(set, kernel.features)) if kernel.features else set()
            if any("local" in f for f in kernel.features):
                every.add("local")
            kernel.features = sorted(every)
            merged.append(dataclasses.asdict(kernel))
        return {"seconds": usage.ru_utime + usage.ru_stime, "kernels": merged}


def measure(nvcc, version, root, source, cache):
    digest = hashlib.sha256(json.dumps([version, FLAGS, TARGETS, sorted(PTX_FEATURES)]).encode())
    digest.update(pathlib.Path(__file__).read_bytes().split(b"HOT = [")[0])
    for path in sorted(inputs_of(root, source, set())):
        digest.update(path.read_bytes())
    kept = cache / f"{source.stem}-{digest.hexdigest()[:24]}.json" if cache else None
    if kept and kept.is_file():
        return json.loads(kept.read_text())
    result = compile_file(nvcc, root, source)
    if kept and "error" not in result:
        for old in cache.glob(f"{source.stem}-{'?' * 24}.json"):
            old.unlink(missing_ok=True)
        kept.write_text(json.dumps(result))
    return result


def judge(kernels, hot, complete):
    """What is wrong with the kernels, a line each. `complete`: every hot kernel must be there."""
    faults = []
    for rule in hot:
        instances = [k for k in kernels if re.fullmatch(rule.pattern, k.short())]
        if not instances and complete:
            faults.append(f"{rule.pattern}: no such kernel; keep the table of hot kernels right")
        for kernel in instances:
            for target, registers in sorted(kernel.registers.items()):
                if registers > rule.registers:
                    faults.append(f"{kernel.short()}: {registers} registers on {target}, "
                                  f"the budget is {rule.registers}")
                if kernel.spills[target] > 0:
                    faults.append(f"{kernel.short()}: spills {kernel.spills[target]} bytes on {target}")
            if "local" in kernel.features:
                faults.append(f"{kernel.short()}: uses local memory")
            for feature in rule.needs:
                if feature not in kernel.features:
                    faults.append(f"{kernel.short()}: no {feature} in its PTX")
    return faults


def self_test():
    """Each fault alone is found, and nothing in a good kernel."""
    hot = [Hot(r"K<int, \d>", registers=64, needs=("v4", "mma"))]
    good = Kernel("a::(anonymous namespace)::K<int, 4>", {"sm_80": 64}, {"sm_80": 0}, ["mma", "v4"])
    change = lambda **with_: dataclasses.replace(good, **with_)
    cases = [
        ([good], 0),
        ([], 1),
        ([change(registers={"sm_80": 65})], 1),
        ([change(spills={"sm_80": 4})], 1),
        ([change(features=["local", "mma", "v4"])], 1),
        ([change(features=["mma"])], 1),
        ([good, change(name="a::K<float>", features=["local"])], 0),
        ([change(name="a::K<float>")], 1),
        ([good, change(name="Other", registers={"sm_80": 255}, spills={"sm_80": 99})], 0),
    ]
    failed = sum(len(judge(kernels, hot, True)) != expected for kernels, expected in cases)
    ptxas = ("ptxas info    : Compiling entry function '_Z1Kv' for 'sm_80'\n"
             "ptxas info    : Function properties for _Z1Kv\n"
             "    8 bytes stack frame, 4 bytes spill stores, 8 bytes spill loads\n"
             "ptxas info    : Used 40 registers, used 1 barriers\n")
    failed += parse_ptxas(ptxas) != {("_Z1Kv", "sm_80"): (40, 12)}
    ptx = (".visible .entry _Z1Kv(\n.param .u64 p\n)\n{\n\tld.global.nc.v4.u32 {%r1}, [%rd1];\n}\n"
           ".visible .entry _Z1Lv(\n)\n{\n\t.local .align 4 .b8 depot[8];\n\tcp.async.cg.shared.global "
           "[%r1], [%rd1], 16;\n}\n")
    failed += parse_ptx(ptx) != {"_Z1Kv": ["v4"], "_Z1Lv": ["cp.async", "local", "v4"]}
    failed += strip_signature("void a::(anonymous namespace)::K<int, (b)1>(c, d)") != \
        "a::(anonymous namespace)::K<int, (b)1>"
    print("self-test:", f"{failed} failed" if failed else "all as expected")
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=pathlib.Path,
                        default=pathlib.Path(__file__).resolve().parent.parent)
    parser.add_argument("--nvcc", default=shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc")
    parser.add_argument("--cache", type=pathlib.Path)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--list", action="store_true", help="print all kernels")
    parser.add_argument("--self-test", action="store_true", help="check the checker")
    parser.add_argument("files", nargs="*", type=pathlib.Path)
    args = parser.parse_args()
    if args.self_test:
        return self_test()
    if not pathlib.Path(args.nvcc).is_file():
        print(f"skipped: no nvcc in PATH or at {args.nvcc}")
        return EXIT_SKIP
    version = subprocess.run([args.nvcc, "--version"], capture_output=True, text=True,
                             check=True).stdout
    root = args.root.resolve()
    sources = [path.resolve() for path in args.files] or \
        sorted((root / "engine/backend/cuda/kernels").glob("*.cu"))
    if not sources:
        print(f"{root}: no kernel files", file=sys.stderr)
        return 1
    if args.cache:
        args.cache.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        results = list(pool.map(lambda s: measure(args.nvcc, version, root, s, args.cache), sources))
    faults, kernels = [], []
    for source, result in zip(sources, results):
        if "error" in result:
            faults.append(f"{source.name}: does not compile:\n{result['error']}")
            continue
        print(f"{source.name}: {result['seconds']:.1f} s, {len(result['kernels'])} kernels")
        if result["seconds"] > MAX_COMPILE_SECONDS:
            faults.append(f"{source.name}: {result['seconds']:.1f} s to compile, "
                          f"the limit is {MAX_COMPILE_SECONDS:.0f} s")
        for fields in result["kernels"]:
            kernel = Kernel(**fields)
            kernels.append(kernel)
            if args.list:
                spilled = sum(kernel.spills.values())
                print(f"  {kernel.short()}: registers {kernel.registers}"
                      f"{f', SPILLS {kernel.spills}' if spilled else ''}, {kernel.features}")
    faults += judge(kernels, HOT, complete=not args.files)
    for fault in faults:
        print(f"FAULT {fault}", file=sys.stderr)
    print(f"{len(sources)} files, {len(kernels)} kernels, {len(HOT)} hot, {len(faults)} faults, "
          f"{time.monotonic() - begin:.0f} s")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
