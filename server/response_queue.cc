#include "server/response_queue.h"

#include <utility>

#include "base/check.h"

namespace prefixd {
namespace {

// What a log-prob takes beyond its serialised bytes: the message, its string, their heap blocks.
constexpr size_t kLogprobOverhead = 88;

void Append(v1::Delta* from, v1::Delta* to) {
  to->mutable_text()->append(from->text());
  to->mutable_token_ids()->MergeFrom(from->token_ids());
  for (v1::TokenLogprobs& entry : *from->mutable_logprobs()) {
    to->add_logprobs()->Swap(&entry);
  }
}

}  // namespace

size_t MemoryOf(const v1::GenerateResponse& response) {
  size_t bytes = response.ByteSizeLong();
  for (const v1::TokenLogprobs& entry : response.delta().logprobs()) {
    bytes += (1 + static_cast<size_t>(entry.top_size())) * kLogprobOverhead;
  }
  return bytes;
}

void ResponseQueue::Push(v1::GenerateResponse response) {
  const size_t bytes = MemoryOf(response);
  bytes_ += bytes;
  if (response.has_delta()) {
    v1::Delta* delta = response.mutable_delta();
    for (auto entry = entries_.rbegin(); entry != entries_.rend(); ++entry) {
      if (!entry->response.has_delta() || entry->response.delta().index() != delta->index()) {
        continue;
      }
      if (entry->bytes + bytes > kMaxMessageBytes) break;
      Append(delta, entry->response.mutable_delta());
      entry->bytes += bytes;
      return;
    }
  }
  entries_.push_back({std::move(response), bytes});
}

v1::GenerateResponse ResponseQueue::Pop() {
  PREFIXD_CHECK(!entries_.empty());
  v1::GenerateResponse response = std::move(entries_.front().response);
  bytes_ -= entries_.front().bytes;
  entries_.pop_front();
  return response;
}

void ResponseQueue::Clear() {
  entries_.clear();
  bytes_ = 0;
}

}  // namespace prefixd
