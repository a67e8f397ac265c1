// Streams and events of the runtime API.
#include <algorithm>
#include <utility>

#include "tests/cuda_emulation/emulator/device_state.h"
#include "tests/cuda_emulation/emulator/memory_arena.h"
#include "tests/cuda_emulation/emulator/reports.h"
#include "tests/cuda_emulation/emulator/stream.h"

namespace prefixd::emu {
namespace {

std::vector<std::unique_ptr<CUevent_st>>& Events() {
  static auto* events = new std::vector<std::unique_ptr<CUevent_st>>;
  return *events;
}

void AddTail(const std::vector<int>& nodes, std::vector<int>* tail) {
  for (const int node : nodes) {
    if (std::find(tail->begin(), tail->end(), node) == tail->end()) tail->push_back(node);
  }
}

// A query or a wait of something that is being captured.
cudaError_t RefuseInCapture(ApiCall& call, const CapturePtr& capture, cudaError_t error) {
  capture->valid = false;
  return call.Misuse(error, "the stream is being captured");
}

}  // namespace

CUevent_st* FindEvent(cudaEvent_t handle, const char* user) {
  for (const auto& event : Events()) {
    if (event.get() != handle) continue;
    if (!event->destroyed) return handle;
    AddReport(std::string(user) + ": the event was destroyed");
    return nullptr;
  }
  AddReport(std::string(user) + ": no event");
  return nullptr;
}

void ForgetEvents() { Events().clear(); }

}  // namespace prefixd::emu

using prefixd::emu::ApiCall;
using prefixd::emu::DeviceState;

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  ApiCall call("cudaDeviceGetStreamPriorityRange");
  if (call.refusal() != cudaSuccess) return call.Return(call.refusal());
  *least = 0;
  *greatest = -5;
  return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return cudaStreamCreateWithPriority(stream, cudaStreamDefault, 0);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned int flags) {
  return cudaStreamCreateWithPriority(stream, flags, 0);
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned int flags, int priority) {
  ApiCall call("cudaStreamCreate");
  if (call.refusal() != cudaSuccess) return call.Return(call.refusal());
  if (flags > cudaStreamNonBlocking) return call.Misuse(cudaErrorInvalidValue, "unknown flags");
  *stream = prefixd::emu::NewStream(flags == cudaStreamNonBlocking, priority);
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t handle) {
  ApiCall call("cudaStreamDestroy", ApiCall::kOnLostDevice);
  CUstream_st* const stream = prefixd::emu::FindStream(handle, call.name());
  if (stream == nullptr || stream == prefixd::emu::AllStreams().front().get()) {
    return call.Return(cudaErrorInvalidResourceHandle);
  }
  if (stream->capture != nullptr) stream->capture->valid = false;
  stream->destroyed = true;  // What is pending runs nevertheless.
  return call.Return(cudaSuccess);
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  ApiCall call("cudaStreamSynchronize");
  if (call.refusal() != cudaSuccess) return call.Return(call.refusal());
  CUstream_st* const stream = prefixd::emu::FindStream(handle, call.name());
  if (stream == nullptr) return call.Return(cudaErrorInvalidResourceHandle);
  if (stream->capture != nullptr) {
    return prefixd::emu::RefuseInCapture(call, stream->capture, cudaErrorStreamCaptureUnsupported);
  }
  const prefixd::emu::MarkerPtr tail = prefixd::emu::MarkTail(stream);
  return call.Return(prefixd::emu::WaitFor([&] { return prefixd::emu::RunTo(tail); }, call.lock()));
}

cudaError_t cudaStreamQuery(cudaStream_t handle) {
  ApiCall call("cudaStreamQuery");
  if (call.refusal() != cudaSuccess) return call.Return(call.refusal());
  CUstream_st* const stream = prefixd::emu::FindStream(handle, call.name());
  if (stream == nullptr) return call.Return(cudaErrorInvalidResourceHandle);
  if (stream->capture != nullptr) {
    return prefixd::emu::RefuseInCapture(call, stream->capture, cudaErrorStreamCaptureUnsupported);
  }
  ++DeviceState::Get().counters.queries;
  prefixd::emu::RunSome(stream);
  return call.Return(stream->queue.empty() ? cudaSuccess : cudaErrorNotReady);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event_handle, unsigned int) {
  ApiCall call("cudaStreamWaitEvent");
  if (call.refusal() != cudaSuccess) return call.Return(call.refusal());
  CUstream_st* const stream = prefixd::emu::FindStream(handle, call.name());
  CUevent_st* const event = prefixd::emu::FindEvent(event_handle, call.name());
  if (stream == nullptr || event == nullptr) return call.Return(cudaErrorInvalidResourceHandle);
  if (event->capture != nullptr) {
    const prefixd::emu::CapturePtr& capture = event->capture;
    if (capture->ended) {
      return call.Misuse(cudaErrorCapturedEvent, "the event belongs to a capture that has ended");
    }
    if (!capture->valid) return call.Return(cudaErrorStreamCaptureInvalidated);
    if (stream->capture == nullptr) {
      stream->capture = capture;
      stream->capture_tail.clear();
      capture->streams.push_back(stream);
    } else if (stream->capture != capture) {
      capture->valid = stream->capture->valid = false;
      return call.Return(cudaErrorStreamCaptureMerge);
    }
    prefixd::emu::AddTail(event->capture_tail, &stream->capture_tail);
    return cudaSuccess;
  }
  if (stream->capture != nullptr) {
    stream->capture->valid = false;
    return call.Misuse(cudaErrorStreamCaptureIsolation,
                       "the event was recorded before the capture");
  }
  if (event->marker == nullptr || event->marker->done) return cudaSuccess;
  return call.Return(prefixd::emu::Enqueue(stream, {.name = "wait", .wait_for = event->marker}));
}

cudaError_t cudaLaunchHostFunc(cudaStream_t handle, cudaHostFn_t function, void* user_data) {
  ApiCall call("cudaLaunchHostFunc");
  if (call.refusal() != cudaSuccess) return call.Return(call.refusal());
  CUstream_st* const stream = prefixd::emu::FindStream(handle, call.name());
  if (stream == nullptr) return call.Return(cudaErrorInvalidResourceHandle);
  return call.Return(prefixd::emu::Enqueue(
      stream, {.name = "host function", .run = [=] { function(user_data); }, .on_device = false}));
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned int flags) {
  ApiCall call("cudaEventCreate");
  if (call.refusal() != cudaSuccess) return call.Return(call.refusal());
  if (flags > (cudaEventBlockingSync | cudaEventDisableTiming)) {
    return call.Misuse(cudaErrorInvalidValue, "unknown flags");
  }
  prefixd::emu::Events().push_back(std::make_unique<CUevent_st>());
  *event = prefixd::emu::Events().back().get();
  (*event)->flags = flags;
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t handle) {
  ApiCall call("cudaEventDestroy", ApiCall::kOnLostDevice);
  CUevent_st* const event = prefixd::emu::FindEvent(handle, call.name());
  if (event == nullptr) return call.Return(cudaErrorInvalidResourceHandle);
  event->destroyed = true;
  event->capture = nullptr;
  return call.Return(cudaSuccess);
}

cudaError_t cudaEventRecord(cudaEvent_t event_handle, cudaStream_t handle) {
  ApiCall call("cudaEventRecord");
  if (call.refusal() != cudaSuccess) return call.Return(call.refusal());
  CUstream_st* const stream = prefixd::emu::FindStream(handle, call.name());
  CUevent_st* const event = prefixd::emu::FindEvent(event_handle, call.name());
  if (stream == nullptr || event == nullptr) return call.Return(cudaErrorInvalidResourceHandle);
  if (stream->capture != nullptr) {
    if (!stream->capture->valid) return call.Return(cudaErrorStreamCaptureInvalidated);
    event->capture = stream->capture;
    event->capture_tail = stream->capture_tail;
    return cudaSuccess;
  }
  event->capture = nullptr;
  event->marker = std::make_shared<prefixd::emu::Marker>();
  return call.Return(prefixd::emu::Enqueue(stream, {.name = "event", .completes = event->marker}));
}

cudaError_t cudaEventSynchronize(cudaEvent_t handle) {
  ApiCall call("cudaEventSynchronize");
  if (call.refusal() != cudaSuccess) return call.Return(call.refusal());
  CUevent_st* const event = prefixd::emu::FindEvent(handle, call.name());
  if (event == nullptr) return call.Return(cudaErrorInvalidResourceHandle);
  if (event->capture != nullptr) {
    return prefixd::emu::RefuseInCapture(call, event->capture, cudaErrorCapturedEvent);
  }
  if (event->marker == nullptr) return cudaSuccess;
  const prefixd::emu::MarkerPtr marker = event->marker;
  return call.Return(
      prefixd::emu::WaitFor([&] { return prefixd::emu::RunTo(marker); }, call.lock()));
}

cudaError_t cudaEventQuery(cudaEvent_t handle) {
  ApiCall call("cudaEventQuery", ApiCall::kNotInCapture);
  if (call.refusal() != cudaSuccess) return call.Return(call.refusal());
  CUevent_st* const event = prefixd::emu::FindEvent(handle, call.name());
  if (event == nullptr) return call.Return(cudaErrorInvalidResourceHandle);
  if (event->capture != nullptr) {
    return prefixd::emu::RefuseInCapture(call, event->capture, cudaErrorCapturedEvent);
  }
  ++DeviceState::Get().counters.queries;
  if (event->marker == nullptr || event->marker->done) return cudaSuccess;
  prefixd::emu::RunSome(event->marker->stream);
  return call.Return(event->marker->done ? cudaSuccess : cudaErrorNotReady);
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start_handle,
                                 cudaEvent_t end_handle) {
  ApiCall call("cudaEventElapsedTime");
  if (call.refusal() != cudaSuccess) return call.Return(call.refusal());
  CUevent_st* const start = prefixd::emu::FindEvent(start_handle, call.name());
  CUevent_st* const end = prefixd::emu::FindEvent(end_handle, call.name());
  if (start == nullptr || end == nullptr || start->marker == nullptr || end->marker == nullptr ||
      ((start->flags | end->flags) & cudaEventDisableTiming) != 0) {
    return call.Return(cudaErrorInvalidResourceHandle);
  }
  if (!start->marker->done || !end->marker->done) return call.Return(cudaErrorNotReady);
  *milliseconds = static_cast<float>(end->marker->time_ms - start->marker->time_ms);
  return cudaSuccess;
}
