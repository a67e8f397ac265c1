#!/bin/sh
# Fails if an object kernels_*.o among the arguments defines a global symbol besides the function
# that returns its table. (DW.ref.* is the compiler's pointer to its personality function, not code.)
found=0
status=0
for object in "$@"; do
  case "$object" in
    *kernels_*.o) ;;
    *) continue ;;
  esac
  found=$((found + 1))
  extra=$(nm -C --defined-only --extern-only "$object" |
    grep -v -e ' T prefixd::cpu::[A-Za-z0-9]*Kernels()$' -e ' V DW[.]ref[.]' -e '^$')
  if [ -n "$extra" ]; then
    echo "$object defines symbols that other objects could share:"
    echo "$extra"
    status=1
  fi
done
if [ "$found" -lt 4 ]; then
  echo "found only $found level objects"
  exit 1
fi
exit $status
