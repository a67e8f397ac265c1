// Streams, events and captures of the emulated device. For the emulator's own files; callers hold
// the device's lock.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_STREAM_H_
#define PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_STREAM_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "tests/cuda_emulation/shim/runtime_api.h"

namespace prefixd::emu {

// A point of a stream that others wait for.
struct Marker {
  CUstream_st* stream = nullptr;
  bool done = false;
  double time_ms = 0;
};
using MarkerPtr = std::shared_ptr<Marker>;

struct HostRange {
  const void* data = nullptr;
  size_t bytes = 0;
  bool written = false;
};

// One thing that a stream does. A graph is a list of them.
struct Work {
  const char* name = "";
  std::function<void()> run;
  bool on_device = true;        // Else `run` is host code, which sees no device memory.
  std::vector<HostRange> host;  // Pinned memory that it reads or writes.
  MarkerPtr wait_for;
  MarkerPtr completes;
};

struct GraphNode {
  Work work;
  std::vector<int> after;  // Earlier nodes.
};
using GraphNodes = std::vector<GraphNode>;

struct Capture {
  CUstream_st* origin = nullptr;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  std::thread::id thread;
  bool valid = true;
  bool ended = false;
  GraphNodes nodes;
  std::vector<CUstream_st*> streams;
};
using CapturePtr = std::shared_ptr<Capture>;

}  // namespace prefixd::emu

struct CUstream_st {
  bool non_blocking = false;
  int priority = 0;
  bool destroyed = false;
  bool hung = false;
  std::deque<prefixd::emu::Work> queue;
  prefixd::emu::CapturePtr capture;
  std::vector<int> capture_tail;  // Nodes that the next one comes after.
};

struct CUevent_st {
  unsigned flags = 0;
  bool destroyed = false;
  prefixd::emu::MarkerPtr marker;    // Null before the first record.
  prefixd::emu::CapturePtr capture;  // Recorded in a capture: these nodes of it.
  std::vector<int> capture_tail;
};

namespace prefixd::emu {

// The stream that a handle means, or null with a report.
CUstream_st* FindStream(cudaStream_t stream, const char* user);
CUevent_st* FindEvent(cudaEvent_t event, const char* user);

// Appends to a stream, or to its capture. Runs it where streams are eager.
cudaError_t Enqueue(CUstream_st* stream, Work work);

// The same for work that the faults of launches may hit. `run` is false, with a report, where the
// kernel failed.
cudaError_t EnqueueKernel(CUstream_st* stream, const char* name, std::function<bool()> run);

// Runs a stream to a marker, or to its end. False: a hung stream is in the way.
bool RunTo(const MarkerPtr& marker);
bool RunAll(CUstream_st* stream);
// As a query: some steps of a stream.
bool RunSome(CUstream_st* stream);

// As a synchronisation: waits, with the lock given up, while a hung stream is in the way.
cudaError_t WaitFor(const std::function<bool()>& run, std::unique_lock<std::mutex>& lock);
cudaError_t SynchronizeAll(std::unique_lock<std::mutex>& lock);

// A marker at the end of what is in the stream.
MarkerPtr MarkTail(CUstream_st* stream);

// Whether work that is pending reads or writes any of the bytes.
bool IsHostRangePending(const void* data, size_t bytes);

// What a copy to the host will overwrite holds garbage from the call on.
void PoisonHostTarget(const HostRange& host);

// What is pending is dropped, and markers of it are done.
void DropPending();

// Streams by creation; the first is the legacy stream. Destroyed ones stay, so that their use can
// be reported.
const std::vector<std::unique_ptr<CUstream_st>>& AllStreams();

// Whether this thread runs a host function of a stream.
bool InHostFunction();

// Captures. A forbidden call invalidates the captures that it disturbs.
bool IsForbiddenByCapture();
void InvalidateCaptures();
// Adds a node to the stream's capture.
cudaError_t AddToCapture(CUstream_st* stream, Work work);

CUstream_st* NewStream(bool non_blocking, int priority);
void ForgetStreams();
void ForgetEvents();
void ForgetGraphs();
void ForgetWorkspaces();

}  // namespace prefixd::emu

#endif  // PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_STREAM_H_
