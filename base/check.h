// Assertions about ourselves. A failed check is a bug of this program: it prints and aborts.
// Never used on bytes from outside; those get an absl::Status.
#ifndef PREFIXD_BASE_CHECK_H_
#define PREFIXD_BASE_CHECK_H_

namespace prefixd {

[[noreturn]] void CheckFailed(const char* file, int line, const char* condition);

}  // namespace prefixd

#define PREFIXD_CHECK(condition)                     \
  (__builtin_expect(static_cast<bool>(condition), 1) \
       ? static_cast<void>(0)                        \
       : ::prefixd::CheckFailed(__FILE__, __LINE__, #condition))

#ifdef NDEBUG
#define PREFIXD_DCHECK(condition) static_cast<void>(sizeof(static_cast<bool>(condition)))
#else
#define PREFIXD_DCHECK(condition) PREFIXD_CHECK(condition)
#endif

#endif  // PREFIXD_BASE_CHECK_H_
