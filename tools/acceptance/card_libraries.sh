# Sourced: LD_LIBRARY_PATH for programs that pack.sh carried here, if $1/libs holds their libraries.
# cuBLAS is looked for where toolkits and Python packages keep it; CUBLAS_DIR names another folder.
if [[ -d $1/libs ]]; then
  if [[ -z ${CUBLAS_DIR:-} ]]; then
    found=$(find -L /usr/local/cuda*/lib64 /usr/local/cuda*/targets/*/lib /usr/lib /usr/local/lib /opt \
      -maxdepth 8 -name libcublasLt.so.13 -print -quit 2>/dev/null || true)
    CUBLAS_DIR=${found:+$(dirname "$found")}
  fi
  [[ -n $CUBLAS_DIR ]] || echo "no libcublasLt.so.13 found; name its folder with CUBLAS_DIR" >&2
  export LD_LIBRARY_PATH=$1/libs:${CUBLAS_DIR}${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
fi
