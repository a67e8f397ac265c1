#include "engine/backend/cuda/cuda_graphs.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/status_macros.h"
#include "engine/backend/cuda/cuda_bug.h"

namespace prefixd::cuda {
namespace {

constexpr int32_t kGraphRows[] = {1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256};
constexpr size_t kMaxKinds = 128;

}  // namespace

int32_t GraphRows(int32_t num_rows) {
  for (const int32_t rows : kGraphRows) {
    if (rows >= num_rows) return rows;
  }
  return num_rows;
}

bool IsGraphRows(int32_t num_rows) {
  return std::find(std::begin(kGraphRows), std::end(kGraphRows), num_rows) != std::end(kGraphRows);
}

const DecodeGraphs::Entry* DecodeGraphs::Find(const PassKind& kind) const {
  if (PREFIXD_CUDA_BUG(kStaleGrid)) {
    for (const auto& [known, entry] : entries_) {
      PassKind same = kind;
      same.max_visible = known.max_visible;
      if (same == known && entry.graph != nullptr) return &entry;
    }
  }
  const auto it = entries_.find(kind);
  return it == entries_.end() ? nullptr : &it->second;
}

DecodeGraphs::Turn DecodeGraphs::Next(const PassKind& kind) const {
  const Entry* const entry = Find(kind);
  if (entry == nullptr) return Turn::kEager;
  if (entry->graph != nullptr) return Turn::kPlay;
  return entry->recordable ? Turn::kRecord : Turn::kEager;
}

void DecodeGraphs::SetWarm(const PassKind& kind, bool recordable) {
  if (entries_.size() >= kMaxKinds) Drop();
  entries_.try_emplace(kind, Entry{.recordable = recordable});
}

absl::Status DecodeGraphs::BeginRecording(cudaStream_t stream) {
  return health_->Check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal),
                        "beginning to record a graph");
}

absl::Status DecodeGraphs::EndRecording(const PassKind& kind, absl::Status status,
                                        cudaStream_t stream) {
  cudaGraph_t graph = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(stream, &graph);
  Entry& entry = entries_[kind];
  if (status.ok()) status = health_->Check(ended, "recording a graph");
  if (status.ok()) {
    status = health_->Check(cudaGraphInstantiate(&entry.graph, graph, 0), "making a graph");
    if (!status.ok()) entry.graph = nullptr;
  }
  if (graph != nullptr) cudaGraphDestroy(graph);
  if (!status.ok()) {
    cudaGetLastError();
    entry.recordable = false;
    return status;
  }
  return Play(kind, stream);
}

absl::Status DecodeGraphs::Play(const PassKind& kind, cudaStream_t stream) {
  return health_->Check(cudaGraphLaunch(Find(kind)->graph, stream), "playing a graph");
}

void DecodeGraphs::Drop() {
  for (auto& [kind, entry] : entries_) {
    if (entry.graph != nullptr) cudaGraphExecDestroy(entry.graph);
  }
  entries_.clear();
}

size_t DecodeGraphs::num_recordings() const {
  return static_cast<size_t>(std::count_if(entries_.begin(), entries_.end(), [](const auto& item) {
    return item.second.graph != nullptr;
  }));
}

}  // namespace prefixd::cuda
