// Recordings of decode passes. The first pass of a kind runs eagerly, so that all that allocates or
// chooses has done so; the second one is recorded; later ones are played.
//
// Threads: one caller at a time.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_CUDA_GRAPHS_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_CUDA_GRAPHS_H_

#include <cuda_runtime.h>

#include <compare>
#include <cstdint>
#include <map>
#include <utility>

#include "absl/status/status.h"
#include "engine/backend/cuda/cuda_health.h"

namespace prefixd::cuda {

// Passes that may play one recording.
struct PassKind {
  int32_t num_rows = 0;
  int32_t max_visible = 0;  // What the grids cover: a VisibleBucket.
  int64_t num_layers = 0;
  const void* pool = nullptr;

  auto operator<=>(const PassKind&) const = default;
};

// The smallest row count >= num_rows that is recorded; num_rows where there is none.
int32_t GraphRows(int32_t num_rows);
// Whether passes of exactly so many rows are recorded.
bool IsGraphRows(int32_t num_rows);

class DecodeGraphs {
 public:
  explicit DecodeGraphs(CudaHealth* health) : health_(health) {}
  DecodeGraphs(const DecodeGraphs&) = delete;
  DecodeGraphs& operator=(const DecodeGraphs&) = delete;
  ~DecodeGraphs() { Drop(); }

  enum class Turn { kEager, kRecord, kPlay };
  // What to do with a pass.
  Turn Next(const PassKind& kind) const;

  // A pass of this kind ran eagerly. It can be recorded if it took no inputs but the announced.
  void SetWarm(const PassKind& kind, bool recordable);

  absl::Status BeginRecording(cudaStream_t stream);
  // Ends the recording; if `status` is OK keeps and plays it. Returns `status`, or what went wrong:
  // the kind is not recorded again then.
  absl::Status EndRecording(const PassKind& kind, absl::Status status, cudaStream_t stream);
  absl::Status Play(const PassKind& kind, cudaStream_t stream);

  // Forgets all recordings and what is warm: an address in them is no longer valid.
  void Drop();
  size_t num_recordings() const;

 private:
  struct Entry {
    bool recordable = false;
    cudaGraphExec_t graph = nullptr;
  };
  const Entry* Find(const PassKind& kind) const;

  CudaHealth* const health_;
  std::map<PassKind, Entry> entries_;
};

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_CUDA_GRAPHS_H_
