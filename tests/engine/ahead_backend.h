// A backend that claims to work beside the host, so that steps are launched ahead, and asks for
// padding rows. What it computes does not change.
#ifndef PREFIXD_TESTS_ENGINE_AHEAD_BACKEND_H_
#define PREFIXD_TESTS_ENGINE_AHEAD_BACKEND_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>

#include "tests/backend/forwarding_backend.h"

namespace prefixd::testing {

class AheadBackend final : public ForwardingBackend {
 public:
  explicit AheadBackend(std::unique_ptr<Backend> real)
      : ForwardingBackend(std::move(real)), info_(ForwardingBackend::info()) {}

  void set_ahead(bool ahead) { info_.in_flight = ahead ? 2 : 1; }
  const BackendInfo& info() const override { return info_; }
  int32_t PaddedRows(int32_t num_rows) const override {
    if (real().info().in_flight > 1) return real().PaddedRows(num_rows);
    return info_.in_flight > 1 ? (num_rows + 2) / 3 * 3 : num_rows;
  }
  absl::StatusOr<uint64_t> DrawTokens(const Tensor& logits,
                                      absl::Span<const TokenDraw> draws) override {
    steps_ahead += ++tickets_out_ > 1;
    return real().DrawTokens(logits, draws);
  }
  absl::Status TakeDraws(uint64_t ticket, std::vector<DrawnToken>* drawn) override {
    --tickets_out_;
    return real().TakeDraws(ticket, drawn);
  }

  uint64_t steps_ahead = 0;  // Launched before the last one's tokens were taken.

 private:
  BackendInfo info_;
  int tickets_out_ = 0;
};

}  // namespace prefixd::testing

#endif  // PREFIXD_TESTS_ENGINE_AHEAD_BACKEND_H_
