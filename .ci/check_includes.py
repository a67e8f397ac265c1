#!/usr/bin/env python3
"""Fails on an include that breaks the layering of docs/design.md, section 2.

Usage: check_includes.py [--root DIR] [--self-test]

Every C++ and CUDA file of the modules is read; for each `#include` the module it points to is looked
up in ALLOWED, and what a module must never mention is looked up in FORBIDDEN. Tests and benchmarks
stand above all modules and may include anything of ours.
"""

import argparse
import pathlib
import re
import sys
import tempfile

MODULES = ("base", "cache", "engine", "server", "client", "tools", "proto")
SUFFIXES = {".h", ".cc", ".cu", ".cuh"}
SERVER_MAY_USE = ("engine/engine.h", "engine/request.h", "engine/options.h",
                  "engine/classification.h",
                  "engine/error_reasons.h", "engine/retention_limits.h")
PROTO = ("prefixd/", "google/rpc/")
GRPC = ("grpc/", "grpc++/", "grpcpp/", "google/protobuf/") + PROTO

# Which of our files the files under a folder may include. The longest matching folder decides.
ALLOWED = {
    "base": ("base/",),
    "cache": ("cache/", "base/"),
    "engine": ("engine/", "cache/", "base/"),
    "server": ("server/", "base/") + SERVER_MAY_USE + PROTO,
    "client": ("client/", "base/") + PROTO,
    "tools": ("tools/", "engine/", "cache/", "base/"),
    "proto": ("base/",) + PROTO,
}

# What the files under a folder must never include, ours or not. All matching folders count.
FORBIDDEN = {
    "base": GRPC,
    "cache": GRPC + ("cuda", "thread", "mutex", "shared_mutex", "condition_variable", "future",
                     "stop_token", "pthread.h", "chrono", "ctime", "time.h", "absl/synchronization/",
                     "absl/time/", "base/clock.h", "base/log.h", "spdlog/"),
    "engine": GRPC,
    "engine/backend": ("cache/", "engine/models/", "engine/model.h", "engine/sequence",
                       "engine/scheduler", "engine/engine.h", "engine/model_runner"),
    "engine/models": ("engine/backend/cpu/", "engine/backend/ref/", "engine/backend/cuda"),
    "engine/layers": ("engine/backend/cpu/", "engine/backend/ref/", "engine/backend/cuda"),
    "tools": ("grpc/", "grpcpp/"),
}

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*[<"]([^>"]+)[>"]', re.MULTILINE)


def is_ours(include):
    return include.split("/")[0] in MODULES or include.startswith(PROTO)


def matches(include, patterns):
    """A pattern that ends in `/` names a folder, a bare word a header; `cuda` any CUDA header."""
    return any(include == p or (p.endswith("/") and include.startswith(p)) or
               ("." not in p and "/" in p and include.startswith(p)) or
               (p == "cuda" and include.startswith("cuda")) for p in patterns)


def is_under(path, folder):
    return path == folder or path.startswith(folder + "/")


def violations_of(path, text):
    """Returns (line, include, why) for each wrong include of the file at `path`."""
    module = path.split("/")[0]
    found = []
    for match in INCLUDE.finditer(text):
        include = match.group(1)
        line = text.count("\n", 0, match.start()) + 1
        if is_ours(include) and not matches(include, ALLOWED[module]):
            found.append((line, include, f"{module} may use only {', '.join(ALLOWED[module])}"))
        for folder, forbidden in FORBIDDEN.items():
            if is_under(path, folder) and matches(include, forbidden):
                found.append((line, include, f"{folder} must never mention it"))
    return found


def check(root):
    """Prints every violation under `root`. Returns (files read, violations)."""
    files = bad = 0
    for module in MODULES:
        for path in sorted((root / module).rglob("*")):
            if path.suffix not in SUFFIXES:
                continue
            files += 1
            name = path.relative_to(root).as_posix()
            for line, include, why in violations_of(name, path.read_text(errors="replace")):
                print(f"{name}:{line}: {include}: {why}", file=sys.stderr)
                bad += 1
    return files, bad


# Cases of the self-test: (file, its text, number of violations).
CASES = (
    ("base/a.h", '#include "base/b.h"\n#include <vector>\n#include "absl/time/time.h"\n', 0),
    ("base/b.h", '#include "cache/page.h"\n', 1),
    ("cache/a.cc", '#include "cache/a.h"\n#include "base/check.h"\n', 0),
    ("cache/b.cc", '#include <mutex>\n#include <cuda_runtime.h>\n#include "base/log.h"\n', 3),
    ("cache/c.cc", '#include "engine/request.h"\n', 1),
    ("engine/a.cc", '#include "cache/page.h"\n#include "engine/model.h"\n', 0),
    ("engine/b.cc", '#include <grpcpp/grpcpp.h>\n#include "server/main.h"\n', 2),
    ("engine/backend/a.cc", '#  include "cache/page.h"\n', 1),
    ("engine/backend/b.cc", '#include "engine/sequence.h"\n', 1),
    ("engine/models/a.cc", '#include "engine/backend/cpu/gemm.h"\n', 1),
    ("engine/models/b.cc", '#include "engine/backend/backend.h"\n', 0),
    ("server/a.cc", '#include "engine/engine.h"\n#include "prefixd/v1/input.pb.h"\n', 0),
    ("server/b.cc", '#include "engine/scheduler.h"\n#include "cache/page.h"\n', 2),
    ("client/a.cc", '#include "prefixd/v1/input.pb.h"\n#include <grpcpp/grpcpp.h>\n', 0),
    ("client/b.cc", '#include "engine/engine.h"\n', 1),
    ("tools/a.cc", '#include "client/client.h"\n#include "cache/page.h"\n', 1),
)


def self_test():
    """Checks each case alone, and that a tree with a wrong include fails as a whole."""
    failed = 0
    for path, text, expected in CASES:
        found = violations_of(path, text)
        if len(found) != expected:
            print(f"self-test: {path}: {len(found)} violations, expected {expected}: {found}",
                  file=sys.stderr)
            failed += 1
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for path, text, _ in CASES:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        print("self-test: the next lines are expected", file=sys.stderr)
        result = check(root)
    expected = (len(CASES), sum(case[2] for case in CASES))
    if result != expected:
        print(f"self-test: (files, violations) = {result}, expected {expected}", file=sys.stderr)
        failed += 1
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=pathlib.Path,
                        default=pathlib.Path(__file__).resolve().parent.parent)
    parser.add_argument("--self-test", action="store_true", help="check the checker")
    args = parser.parse_args()
    if args.self_test:
        failed = self_test()
        print("self-test:", "failed" if failed else f"{len(CASES)} cases as expected")
        return 1 if failed else 0
    files, bad = check(args.root)
    if files == 0:
        print(f"{args.root}: no source files", file=sys.stderr)
        return 1
    print(f"includes: {files} files, {bad} wrong")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
