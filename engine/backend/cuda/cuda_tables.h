// Page tables of the running sequences on the device: [layer][sequence][page], with a shadow on the
// host, so that a step sends only the entries that changed.
//
// Threads: one caller at a time.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_CUDA_TABLES_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_CUDA_TABLES_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "engine/backend/backend.h"
#include "engine/backend/cuda/cuda_memory.h"

namespace prefixd::cuda {

// Entries to change: target[indices[i]] = values[i].
struct TableDeltas {
  std::vector<int32_t> indices, values;
};

class PageTables {
 public:
  // Makes room; the tables may move then, and all entries are unknown. Errors: RESOURCE_EXHAUSTED,
  // with the tables as they were or empty.
  absl::Status Reserve(int64_t layers, int64_t sequences, int64_t pages, DeviceMemory* memory);

  // The entries in which the tables differ from the segments' pages (as many as rows see), which
  // the caller sends. Segment s has row s of its layer's table. Requires room.
  void Update(absl::Span<const absl::Span<const KvSegment>> layers, TableDeltas* deltas);

  // The device's entries are unknown: an update did not get there.
  void Forget();

  int32_t* data() const { return reinterpret_cast<int32_t*>(buffer_.data()); }
  const int32_t* layer(int64_t layer) const { return data() + layer * sequences_ * pages_; }
  int32_t stride() const { return static_cast<int32_t>(pages_); }

 private:
  Buffer buffer_;
  std::vector<int32_t> shadow_;  // What the device has; -1: unknown.
  int64_t layers_ = 0, sequences_ = 0, pages_ = 0;
};

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_CUDA_TABLES_H_
