#!/usr/bin/env python3
"""Fails if a program needs a CUDA library to start. Usage: check_links.py FOLDER"""

import pathlib
import re
import subprocess
import sys

CUDA = re.compile(r"lib(cuda|cudart|cublas|cublasLt|nvrtc|nvJitLink|cudnn)\b[^\]]*\.so|prefixd_cuda")


def needed(program):
    text = subprocess.run(["readelf", "-d", str(program)], capture_output=True, text=True,
                          check=True).stdout
    return re.findall(r"\(NEEDED\).*\[(.*)\]", text)


def main():
    programs = [path for path in sorted(pathlib.Path(sys.argv[1]).iterdir())
                if path.is_file() and path.read_bytes()[:4] == b"\x7fELF"]
    if not any(path.name == "prefixd" for path in programs):
        print(f"{sys.argv[1]}: prefixd is not there", file=sys.stderr)
        return 1
    bad = 0
    for program in programs:
        libraries = needed(program)
        if not any(name.startswith("libc.so") for name in libraries):
            print(f"{program}: no libc among its libraries, so the list is not right",
                  file=sys.stderr)
            bad += 1
        for name in libraries:
            if CUDA.search(name):
                print(f"{program} needs {name}", file=sys.stderr)
                bad += 1
    print(f"{len(programs)} programs, {bad} faults")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
