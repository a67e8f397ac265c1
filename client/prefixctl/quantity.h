// Numbers as people read them. Pure functions.
#ifndef PREFIXD_CLIENT_PREFIXCTL_QUANTITY_H_
#define PREFIXD_CLIENT_PREFIXCTL_QUANTITY_H_

#include <cstdint>
#include <string>

namespace prefixd::ctl {

// "17 B", "1.5 KiB", "288.0 MiB".
std::string FormatBytes(uint64_t bytes);

// "0", "9999", "12.3 k", "1.5 M".
std::string FormatCount(uint64_t count);

// "41.7 %"; "-" if there is no whole.
std::string FormatShare(uint64_t part, uint64_t whole);

}  // namespace prefixd::ctl

#endif  // PREFIXD_CLIENT_PREFIXCTL_QUANTITY_H_
