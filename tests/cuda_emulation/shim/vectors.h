// The vector types of the CUDA language.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_SHIM_VECTORS_H_
#define PREFIXD_TESTS_CUDA_EMULATION_SHIM_VECTORS_H_

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_size = 1, unsigned y_size = 1, unsigned z_size = 1)
      : x(x_size), y(y_size), z(z_size) {}
};

#define PREFIXD_EMU_VECTORS(T, name)                                 \
  struct alignas(2 * sizeof(T)) name##2 {                            \
    T x, y;                                                          \
  };                                                                 \
  struct name##3 {                                                   \
    T x, y, z;                                                       \
  };                                                                 \
  struct alignas(16) name##4 {                                       \
    T x, y, z, w;                                                    \
  };                                                                 \
  inline name##2 make_##name##2(T x, T y) { return {x, y}; }         \
  inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; } \
  inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }

PREFIXD_EMU_VECTORS(int, int)
PREFIXD_EMU_VECTORS(unsigned, uint)
PREFIXD_EMU_VECTORS(float, float)
#undef PREFIXD_EMU_VECTORS

struct alignas(16) double2 {
  double x, y;
};
struct alignas(16) longlong2 {
  long long x, y;
};
struct alignas(16) ulonglong2 {
  unsigned long long x, y;
};
struct alignas(4) ushort2 {
  unsigned short x, y;
};
struct alignas(8) ushort4 {
  unsigned short x, y, z, w;
};
struct alignas(4) uchar4 {
  unsigned char x, y, z, w;
};

#endif  // PREFIXD_TESTS_CUDA_EMULATION_SHIM_VECTORS_H_
