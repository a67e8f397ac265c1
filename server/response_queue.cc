#include "server/response_queue.h"

#include <utility>

#include "base/check.h"

namespace prefixd {
namespace {

void Append(v1::Delta* from, v1::Delta* to) {
  to->mutable_text()->append(from->text());
  to->mutable_token_ids()->MergeFrom(from->token_ids());
  for (v1::TokenLogprobs& entry : *from->mutable_logprobs()) {
    to->add_logprobs()->Swap(&entry);
  }
}

}  // namespace

void ResponseQueue::Push(v1::GenerateResponse response) {
  const size_t bytes = response.ByteSizeLong();
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
