// How much memory this process may still take.
#ifndef PREFIXD_ENGINE_MEMORY_H_
#define PREFIXD_ENGINE_MEMORY_H_

#include <cstdint>
#include <string>

namespace prefixd {

// The least of the machine's available memory and what the process's cgroups (v2, v1) leave, in
// bytes. `root` is prefixed to the paths of /proc and /sys, for tests. 0 if nothing can be read.
uint64_t AvailableMemoryBytes(const std::string& root = "");

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_MEMORY_H_
