// Captures and graphs of the runtime API. A graph is a list of closures; each node names the
// earlier nodes that it comes after.
#include <algorithm>
#include <utility>

#include "tests/cuda_emulation/emulator/device_state.h"
#include "tests/cuda_emulation/emulator/memory_arena.h"
#include "tests/cuda_emulation/emulator/reports.h"
#include "tests/cuda_emulation/emulator/stream.h"

using prefixd::emu::ApiCall;
using prefixd::emu::DeviceState;
using prefixd::emu::GraphNodes;

struct CUgraph_st {
  std::shared_ptr<const GraphNodes> nodes;
};
struct CUgraphExec_st {
  std::shared_ptr<const GraphNodes> nodes;
  prefixd::emu::MarkerPtr last_launch;
};

namespace prefixd::emu {
namespace {

std::vector<std::unique_ptr<CUgraph_st>>& Graphs() {
  static auto* graphs = new std::vector<std::unique_ptr<CUgraph_st>>;
  return *graphs;
}
std::vector<std::unique_ptr<CUgraphExec_st>>& Execs() {
  static auto* execs = new std::vector<std::unique_ptr<CUgraphExec_st>>;
  return *execs;
}

template <typename T>
T* Find(std::vector<std::unique_ptr<T>>& all, T* handle, const char* user) {
  for (const auto& one : all) {
    if (one.get() == handle) return handle;
  }
  AddReport(std::string(user) + ": no such graph, or it was destroyed");
  return nullptr;
}

template <typename T>
bool Destroy(std::vector<std::unique_ptr<T>>& all, T* handle, const char* user) {
  if (Find(all, handle, user) == nullptr) return false;
  std::erase_if(all, [&](const auto& one) { return one.get() == handle; });
  return true;
}

// In the order of issue, or, where streams are late, in any order that the dependencies allow.
void RunNodes(const GraphNodes& nodes) {
  DeviceState& state = DeviceState::Get();
  const bool random = state.options.mode == StreamMode::kLate && state.options.seed != 0;
  std::vector<int> missing(nodes.size()), ready;
  std::vector<std::vector<int>> next(nodes.size());
  for (size_t i = 0; i < nodes.size(); ++i) {
    missing[i] = static_cast<int>(nodes[i].after.size());
    for (const int before : nodes[i].after) next[before].push_back(static_cast<int>(i));
    if (missing[i] == 0) ready.push_back(static_cast<int>(i));
  }
  while (!ready.empty() && state.lost == cudaSuccess) {
    auto at = std::min_element(ready.begin(), ready.end());
    if (random) at = ready.begin() + static_cast<int64_t>(state.random() % ready.size());
    const int node = *at;
    ready.erase(at);
    if (nodes[node].work.run != nullptr) nodes[node].work.run();
    for (const int after : next[node]) {
      if (--missing[after] == 0) ready.push_back(after);
    }
  }
}

// Whether every node of the capture comes before the tail of its first stream.
bool IsJoined(const Capture& capture) {
  std::vector<bool> reached(capture.nodes.size());
  for (const int node : capture.origin->capture_tail) reached[node] = true;
  for (size_t i = capture.nodes.size(); i-- > 0;) {
    if (!reached[i]) return false;
    for (const int before : capture.nodes[i].after) reached[before] = true;
  }
  return true;
}

}  // namespace

bool IsForbiddenByCapture() {
  for (const auto& stream : AllStreams()) {
    if (stream->capture == nullptr) continue;
    const Capture& capture = *stream->capture;
    if (capture.mode == cudaStreamCaptureModeGlobal) return true;
    if (capture.mode == cudaStreamCaptureModeThreadLocal &&
        capture.thread == std::this_thread::get_id()) {
      return true;
    }
  }
  return false;
}

void InvalidateCaptures() {
  for (const auto& stream : AllStreams()) {
    if (stream->capture != nullptr) stream->capture->valid = false;
  }
}

cudaError_t AddToCapture(CUstream_st* stream, Work work) {
  Capture& capture = *stream->capture;
  if (!capture.valid) return cudaErrorStreamCaptureInvalidated;
  const int node = static_cast<int>(capture.nodes.size());
  capture.nodes.push_back({.work = std::move(work), .after = std::move(stream->capture_tail)});
  stream->capture_tail = {node};
  return cudaSuccess;
}

void ForgetGraphs() {
  Graphs().clear();
  Execs().clear();
}

}  // namespace prefixd::emu

cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode) {
  ApiCall call("cudaStreamBeginCapture");
  if (call.refusal() != cudaSuccess) return call.Return(call.refusal());
  CUstream_st* const stream = prefixd::emu::FindStream(handle, call.name());
  if (stream == nullptr) return call.Return(cudaErrorInvalidResourceHandle);
  if (stream == prefixd::emu::AllStreams().front().get()) {
    return call.Misuse(cudaErrorStreamCaptureUnsupported, "the legacy stream");
  }
  if (stream->capture != nullptr) {
    stream->capture->valid = false;
    return call.Misuse(cudaErrorIllegalState, "the stream is being captured");
  }
  stream->capture = std::make_shared<prefixd::emu::Capture>();
  stream->capture->origin = stream;
  stream->capture->mode = mode;
  stream->capture->thread = std::this_thread::get_id();
  stream->capture->streams = {stream};
  stream->capture_tail.clear();
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t* graph) {
  ApiCall call("cudaStreamEndCapture", ApiCall::kOnLostDevice);
  *graph = nullptr;
  CUstream_st* const stream = prefixd::emu::FindStream(handle, call.name());
  if (stream == nullptr) return call.Return(cudaErrorInvalidResourceHandle);
  const prefixd::emu::CapturePtr capture = stream->capture;
  if (capture == nullptr) return call.Misuse(cudaErrorIllegalState, "the stream is not captured");
  if (capture->origin != stream) {
    capture->valid = false;
    return call.Misuse(cudaErrorStreamCaptureUnmatched, "the capture began on another stream");
  }
  if (capture->mode != cudaStreamCaptureModeRelaxed &&
      capture->thread != std::this_thread::get_id()) {
    capture->valid = false;
    return call.Misuse(cudaErrorStreamCaptureWrongThread, "the capture began on another thread");
  }
  const bool joined = prefixd::emu::IsJoined(*capture);
  capture->ended = true;
  for (CUstream_st* const member : capture->streams) {
    member->capture = nullptr;
    member->capture_tail.clear();
  }
  if (!capture->valid) return call.Return(cudaErrorStreamCaptureInvalidated);
  if (!joined) {
    return call.Misuse(
        cudaErrorStreamCaptureUnjoined,
        "work of another stream was not joined to the one that the capture began on");
  }
  prefixd::emu::Graphs().push_back(std::make_unique<CUgraph_st>());
  *graph = prefixd::emu::Graphs().back().get();
  (*graph)->nodes = std::make_shared<const GraphNodes>(std::move(capture->nodes));
  return call.Return(cudaSuccess);
}

cudaError_t cudaStreamIsCapturing(cudaStream_t handle, cudaStreamCaptureStatus* status) {
  ApiCall call("cudaStreamIsCapturing");
  if (call.refusal() != cudaSuccess) return call.Return(call.refusal());
  CUstream_st* const stream = prefixd::emu::FindStream(handle, call.name());
  if (stream == nullptr) return call.Return(cudaErrorInvalidResourceHandle);
  *status = stream->capture == nullptr ? cudaStreamCaptureStatusNone
            : stream->capture->valid   ? cudaStreamCaptureStatusActive
                                       : cudaStreamCaptureStatusInvalidated;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  ApiCall call("cudaGraphInstantiate");
  if (call.refusal() != cudaSuccess) return call.Return(call.refusal());
  if (prefixd::emu::Find(prefixd::emu::Graphs(), graph, call.name()) == nullptr) {
    return call.Return(cudaErrorInvalidValue);
  }
  ++DeviceState::Get().counters.graphs_instantiated;
  prefixd::emu::Execs().push_back(std::make_unique<CUgraphExec_st>());
  *exec = prefixd::emu::Execs().back().get();
  (*exec)->nodes = graph->nodes;
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t handle) {
  ApiCall call("cudaGraphLaunch");
  if (call.refusal() != cudaSuccess) return call.Return(call.refusal());
  CUstream_st* const stream = prefixd::emu::FindStream(handle, call.name());
  if (stream == nullptr) return call.Return(cudaErrorInvalidResourceHandle);
  if (prefixd::emu::Find(prefixd::emu::Execs(), exec, call.name()) == nullptr) {
    return call.Return(cudaErrorInvalidValue);
  }
  if (stream->capture != nullptr) {
    stream->capture->valid = false;
    return call.Misuse(cudaErrorStreamCaptureUnsupported, "a graph inside a capture");
  }
  ++DeviceState::Get().counters.graph_launches;
  prefixd::emu::Work work = {.name = "graph"};
  for (const prefixd::emu::GraphNode& node : *exec->nodes) {
    for (const prefixd::emu::HostRange& host : node.work.host) {
      prefixd::emu::PoisonHostTarget(host);
      work.host.push_back(host);
    }
  }
  work.run = [nodes = exec->nodes] { prefixd::emu::RunNodes(*nodes); };
  work.wait_for = exec->last_launch;
  work.completes = exec->last_launch = std::make_shared<prefixd::emu::Marker>();
  return call.Return(prefixd::emu::Enqueue(stream, std::move(work)));
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  ApiCall call("cudaGraphDestroy", ApiCall::kOnLostDevice);
  const bool found = prefixd::emu::Destroy(prefixd::emu::Graphs(), graph, call.name());
  return call.Return(found ? cudaSuccess : cudaErrorInvalidValue);
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  ApiCall call("cudaGraphExecDestroy", ApiCall::kOnLostDevice);
  const bool found = prefixd::emu::Destroy(prefixd::emu::Execs(), exec, call.name());
  return call.Return(found ? cudaSuccess : cudaErrorInvalidValue);
}
