#include "engine/backend/backend.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/checked_math.h"
#include "base/status_macros.h"
#include "engine/backend/host_draw.h"

namespace prefixd {

struct Backend::HostDraws {
  std::vector<DrawnToken> drawn;                 // Of the latest DrawTokens.
  uint64_t ticket = 0;                           // Of the latest DrawTokens.
  std::vector<std::vector<DrawnToken>> pending;  // Of tickets that are out, oldest first.
  std::vector<float> logits;                     // One row.
  DrawScratch scratch;
};

absl::StatusOr<bool> Backend::BeginForward(const ForwardInputs&) { return false; }

absl::StatusOr<uint64_t> Backend::DrawTokens(const Tensor& logits,
                                             absl::Span<const TokenDraw> draws) {
  if (host_draws_ == nullptr) host_draws_ = std::make_shared<HostDraws>();
  HostDraws& host = *host_draws_;
  host.drawn.clear();
  host.logits.resize(static_cast<size_t>(logits.cols));
  int32_t downloaded = -1;  // Draws of one row come together.
  for (const TokenDraw& draw : draws) {
    if (draw.logits_row != downloaded) {
      PREFIXD_RETURN_IF_ERROR(
          Download(logits.Rows(draw.logits_row, 1), absl::MakeSpan(host.logits)));
      downloaded = draw.logits_row;
    }
    DrawnToken token;
    token.token = draw.forced >= 0 ? draw.forced : DrawToken(host.logits, draw, &host.scratch);
    if (draw.num_logprobs >= 0 && token.token >= 0) {
      RankTokens(host.logits, token.token, draw.num_logprobs, &token);
    }
    host.drawn.push_back(std::move(token));
  }
  host.pending.push_back(host.drawn);
  return ++host.ticket;
}

absl::Status Backend::TakeDraws(uint64_t ticket, std::vector<DrawnToken>* drawn) {
  PREFIXD_CHECK(host_draws_ != nullptr && !host_draws_->pending.empty());
  PREFIXD_CHECK(ticket + host_draws_->pending.size() == host_draws_->ticket + 1);
  *drawn = std::move(host_draws_->pending.front());
  host_draws_->pending.erase(host_draws_->pending.begin());
  return absl::OkStatus();
}

int32_t Backend::ResolveId(int32_t id) const {
  if (id >= 0) return id;
  PREFIXD_CHECK(host_draws_ != nullptr);
  // A row that failed is fed on in vain.
  return std::max(0, host_draws_->drawn.at(static_cast<size_t>(FromDraw(id))).token);
}

absl::Status Backend::GatherLogprobs(const Tensor& logits, absl::Span<const int32_t> rows,
                                     absl::Span<const int32_t> columns, absl::Span<float> y) {
  PREFIXD_CHECK(rows.size() == columns.size() && rows.size() == y.size());
  std::vector<float> row(static_cast<size_t>(logits.cols));
  double log_sum = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    PREFIXD_CHECK(columns[i] >= 0 && columns[i] < logits.cols);
    if (i == 0 || rows[i] != rows[i - 1]) {
      PREFIXD_RETURN_IF_ERROR(Download(logits.Rows(rows[i], 1), absl::MakeSpan(row)));
      log_sum = LogSumExp(row);
    }
    y[i] = static_cast<float>(row[columns[i]] - log_sum);
  }
  return absl::OkStatus();
}

// A row at a time.
absl::Status Backend::HeadLogprobs(const Tensor& x, const Matrix& weight,
                                   absl::Span<const int32_t> rows,
                                   absl::Span<const int32_t> columns, absl::Span<float> y) {
  PREFIXD_CHECK(rows.size() == columns.size() && rows.size() == y.size());
  PREFIXD_ASSIGN_OR_RETURN(const OwnedTensor logits, NewTensor(1, weight.rows()));
  for (size_t begin = 0, end = 0; begin < rows.size(); begin = end) {
    while (end < rows.size() && rows[end] == rows[begin]) ++end;
    PREFIXD_RETURN_IF_ERROR(Linear(x.Rows(rows[begin], 1), weight, {}, logits.view));
    const std::vector<int32_t> row(end - begin, 0);
    const absl::Span<float> of_row = y.subspan(begin, end - begin);
    PREFIXD_RETURN_IF_ERROR(
        GatherLogprobs(logits.view, row, columns.subspan(begin, end - begin), of_row));
    for (float& value : of_row) value = value > 0 ? 0.0f : value;  // NaN stays.
  }
  return absl::OkStatus();
}

absl::Status Backend::GatherSlots(absl::Span<const SlotGather>, KvPool*) {
  return absl::UnimplementedError(absl::StrCat("backend ", info().name, " moves no slots"));
}

absl::StatusOr<OwnedTensor> Backend::NewTensor(int64_t rows, int64_t cols) {
  PREFIXD_CHECK(rows >= 0 && cols >= 0);
  const DType dtype = info().activation_dtype;
  const int64_t per_line = 64 / static_cast<int64_t>(DTypeSize(dtype));
  const std::optional<uint64_t> padded = CheckedAdd(cols, per_line - 1);
  const uint64_t row_stride = *padded / per_line * per_line;
  std::optional<uint64_t> size_bytes = CheckedMul(row_stride, DTypeSize(dtype));
  if (size_bytes.has_value()) size_bytes = CheckedMul(*size_bytes, rows);
  if (!size_bytes.has_value() || *size_bytes > std::numeric_limits<int64_t>::max()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("a tensor of ", rows, " x ", cols, " does not fit in memory"));
  }
  PREFIXD_ASSIGN_OR_RETURN(Buffer buffer, Allocate(*size_bytes));
  const Tensor view{.data = buffer.data(),
                    .dtype = dtype,
                    .rows = rows,
                    .cols = cols,
                    .row_stride = static_cast<int64_t>(row_stride)};
  return OwnedTensor{.buffer = std::move(buffer), .view = view};
}

}  // namespace prefixd
