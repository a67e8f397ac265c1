// A backend and a model without arithmetic: KV slots hold token ids, and the next token is a hash
// of every token that a row sees, in slot order. A wrong slot, page, copy or position changes the
// output, so engine tests compare tokens with LonelyRun. As a prefix-LM the slots of a prompt hold
// a hash of all of it; with cross-attention a slot also depends on the image that its row sees.
#ifndef PREFIXD_TESTS_ENGINE_FAKE_BACKEND_H_
#define PREFIXD_TESTS_ENGINE_FAKE_BACKEND_H_

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <vector>

#include "base/check.h"
#include "engine/backend/backend.h"
#include "engine/models/model.h"

namespace prefixd::testing {

class FakeKvPool final : public KvPool {
 public:
  explicit FakeKvPool(const KvPoolShape& shape)
      : KvPool(shape), tokens(static_cast<size_t>(shape.num_pages) * kPageSlots, -1) {}
  int32_t& at(int32_t page, int32_t slot) {
    return tokens[static_cast<size_t>(page) * kPageSlots + static_cast<size_t>(slot)];
  }
  std::vector<int32_t> tokens;
};

// Memory and page copies only; any other op is a bug of the test.
class FakeBackend : public Backend {
 public:
  explicit FakeBackend(int in_flight = 1) { info_.in_flight = in_flight; }

  using Backend::ResolveId;
  void set_in_flight(int steps) { info_.in_flight = steps; }
  const BackendInfo& info() const override { return info_; }
  absl::StatusOr<Buffer> Allocate(size_t size_bytes) override {
    auto* data = static_cast<std::byte*>(std::calloc(1, size_bytes));
    return Buffer(
        data, size_bytes, [](void*, std::byte* p, size_t) { std::free(p); }, nullptr);
  }
  absl::StatusOr<std::unique_ptr<KvPool>> CreateKvPool(const KvPoolShape& shape) override {
    return std::make_unique<FakeKvPool>(shape);
  }
  absl::Status Upload(absl::Span<const float> x, const Tensor& y) override {
    for (int64_t r = 0; r < y.rows; ++r) {
      std::memcpy(y.data + r * y.row_stride * 4, x.data() + r * y.cols,
                  static_cast<size_t>(y.cols) * 4);
    }
    return absl::OkStatus();
  }
  absl::Status Download(const Tensor& x, absl::Span<float> y) override {
    for (int64_t r = 0; r < x.rows; ++r) {
      std::memcpy(y.data() + r * x.cols, x.data + r * x.row_stride * 4,
                  static_cast<size_t>(x.cols) * 4);
    }
    return absl::OkStatus();
  }
  absl::Status Synchronize() override { return absl::OkStatus(); }
  absl::Status CopyPages(absl::Span<const PageCopy> copies, KvPool* pool) override {
    auto* fake = static_cast<FakeKvPool*>(pool);
    for (const PageCopy& copy : copies) {
      for (int32_t s = 0; s < kPageSlots; ++s) {
        fake->at(copy.destination, s) = fake->at(copy.source, s);
      }
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<Matrix>> CreateMatrix(DType, int64_t, int64_t) override {
    return Unused();
  }
  absl::Status WriteMatrixRows(int64_t, absl::Span<const uint8_t>, Matrix*) override {
    return Unused();
  }
  absl::Status Embed(const Matrix&, absl::Span<const int32_t>, const Tensor&) override {
    return Unused();
  }
  absl::Status CopyRows(const Tensor&, absl::Span<const int32_t>, absl::Span<const int32_t>,
                        const Tensor&) override {
    return Unused();
  }
  absl::Status Linear(const Tensor&, const Matrix&, const LinearOptions&, const Tensor&) override {
    return Unused();
  }
  absl::Status RmsNorm(const Tensor&, const Tensor&, const RmsNormOptions&,
                       const Tensor&) override {
    return Unused();
  }
  absl::Status LayerNorm(const Tensor&, const Tensor&, const Tensor&, float,
                         const Tensor&) override {
    return Unused();
  }
  absl::Status GatedActivation(const Tensor&, Activation, const Tensor&) override {
    return Unused();
  }
  absl::Status Add(const Tensor&, const Tensor&) override { return Unused(); }
  absl::Status Scale(float, const Tensor&) override { return Unused(); }
  absl::Status Clamp(float, const Tensor&) override { return Unused(); }
  absl::Status CrossAttention(const Tensor&, int, float, absl::Span<const CrossSegment>,
                              const Tensor&) override {
    return Unused();
  }
  absl::Status RotaryAngles(absl::Span<const int32_t>, absl::Span<const float>,
                            const Tensor&) override {
    return Unused();
  }
  absl::Status WriteKv(const Tensor&, const Tensor*, int, absl::Span<const KvSegment>,
                       KvPool*) override {
    return Unused();
  }
  absl::Status PagedAttention(const Tensor&, const KvPool&, int, const AttentionOptions&,
                              absl::Span<const KvSegment>, const Tensor&) override {
    return Unused();
  }
  absl::Status VisionAttention(const Tensor&, int, float, const Tensor&) override {
    return Unused();
  }
  absl::Status Patchify(const Tensor&, int, const Tensor&) override { return Unused(); }

 private:
  static absl::Status Unused() { return absl::UnimplementedError("not part of the fake"); }

  BackendInfo info_{.name = "fake"};
};

inline constexpr int32_t kFakeVocab = 97;
inline constexpr int32_t kFakeEos = 0;
inline constexpr int32_t kFakeImageToken = 96;
inline constexpr int32_t kFakeImageRows = 5;

// The token that follows `tokens`.
inline int32_t FakeNext(absl::Span<const int32_t> tokens) {
  uint32_t hash = 2166136261u;
  for (const int32_t token : tokens) hash = (hash ^ static_cast<uint32_t>(token)) * 16777619u;
  return static_cast<int32_t>((hash >> 8) % (kFakeVocab - 1));  // Never the image placeholder.
}

// What the slots of a prefix-LM's prompt hold.
inline std::vector<int32_t> FakeWholePrompt(std::vector<int32_t> tokens) {
  const int32_t all = FakeNext(tokens);
  for (int32_t& token : tokens) token = token * 1000 + all;
  return tokens;
}

// What the slot of a row holds that sees image `id` through cross-attention.
inline int32_t FakeSeeing(int32_t token, int32_t id) { return token + 100000 * (id + 1); }

// What a greedy request generates when it is alone: the specification of the engine's bookkeeping.
inline std::vector<int32_t> LonelyRun(std::vector<int32_t> tokens, int32_t max_new_tokens) {
  std::vector<int32_t> generated;
  while (static_cast<int32_t>(generated.size()) < max_new_tokens) {
    generated.push_back(FakeNext(tokens));
    tokens.push_back(generated.back());
    if (generated.back() == kFakeEos) break;
  }
  return generated;
}

class FakeEncoding final : public ImageEncoding {
 public:
  FakeEncoding(Backend* backend, float id) : backend_(backend), id_(id) {}
  int steps_left() const override { return steps_left_; }
  int rows_per_step() const override { return 7; }
  absl::Status Step() override {
    --steps_left_;
    return absl::OkStatus();
  }
  OwnedTensor TakeFeatures() override {
    OwnedTensor features = *backend_->NewTensor(kFakeImageRows, 1);
    for (int32_t r = 0; r < kFakeImageRows; ++r) {
      const float value = id_ * 10 + static_cast<float>(r);
      (void)backend_->Upload({&value, 1}, features.view.Rows(r, 1));
    }
    return features;
  }

 private:
  Backend* const backend_;
  const float id_;
  int steps_left_ = 3;
};

// Tokens under an image count as 1000 + 10 * pixels[0] + row.
class FakeModel final : public Model {
 public:
  FakeModel(FakeBackend* backend, int num_layers, int32_t context_length,
            Sharing sharing = Sharing::kCausal, bool cross_attended = false)
      : backend_(backend) {
    spec_.family = "fake";
    spec_.num_layers = num_layers;
    spec_.num_heads = spec_.num_kv_heads = 1;
    spec_.head_dim = 2;
    spec_.hidden_size = 1;
    spec_.vocab_size = kFakeVocab;
    spec_.context_length = context_length;
    spec_.image = ImageSpec{.token_id = kFakeImageToken,
                            .tokens_per_image = cross_attended ? 1 : kFakeImageRows,
                            .cross_attended = cross_attended};
    spec_.sharing = sharing;
    spec_.generation.eos_token_ids = {kFakeEos};
  }

  const ModelSpec& spec() const override { return spec_; }

  absl::Status Forward(const Batch& batch, const KvView& kv, const Tensor& logits) override {
    std::vector<int32_t> ids(batch.token_ids.begin(), batch.token_ids.end());
    for (int32_t& id : ids) id = backend_->ResolveId(id);
    for (const FeatureRows& rows : batch.features) {
      for (int32_t i = 0; i < rows.count; ++i) {
        float value = 0;
        PREFIXD_CHECK(
            backend_->Download(rows.features.Rows(rows.feature_begin + i, 1), {&value, 1}).ok());
        ids[rows.row_begin + i] = 1000 + static_cast<int32_t>(value);
      }
    }
    for (const MediaRows& rows : batch.media) {
      float value = 0;  // Of the first row of features: ten times the image.
      PREFIXD_CHECK(backend_->Download(rows.features.Rows(0, 1), {&value, 1}).ok());
      for (int32_t i = 0; i < rows.count; ++i) {
        int32_t& id = ids[rows.row_begin + i];
        id = FakeSeeing(id, static_cast<int32_t>(value) / 10);
      }
    }
    auto* pool = static_cast<FakeKvPool*>(kv.pool);
    if (spec_.sharing == Sharing::kWholePrefix) SeeEachOther(kv, *pool, &ids);
    std::vector<std::vector<int32_t>> seen(ids.size());
    for (size_t layer = 0; layer < kv.layers.size(); ++layer) {
      for (const KvSegment& segment : kv.layers[layer]) {
        Write(segment, ids, pool);
        for (int32_t i = 0; i < segment.num_rows; ++i) {
          std::vector<int32_t> visible = Visible(segment, i, pool);
          std::vector<int32_t>& row = seen[segment.row_begin + i];
          PREFIXD_CHECK(layer == 0 || row == visible);  // Every layer holds the same tokens.
          PREFIXD_CHECK(static_cast<int32_t>(visible.size()) ==
                        batch.positions[segment.row_begin + i] + 1);
          row = std::move(visible);
        }
      }
    }
    for (size_t i = 0; i < batch.logit_rows.size(); ++i) {
      std::vector<float> row(kFakeVocab, 0.0f);
      row[FakeNext(seen[batch.logit_rows[i]])] = 5.0f;
      if (fail_logits) row[3] = std::numeric_limits<float>::quiet_NaN();
      PREFIXD_CHECK(backend_->Upload(row, logits.Rows(static_cast<int64_t>(i), 1)).ok());
    }
    largest_batch = std::max(largest_batch, ids.size());
    if (on_forward) on_forward(static_cast<int>(ids.size()));
    return forward_status;
  }

  absl::Status TokenLogprobs(const Tensor&, absl::Span<const int32_t>, absl::Span<const int32_t>,
                             absl::Span<float>) override {
    return absl::UnimplementedError("the fake model scores nothing");
  }

  absl::StatusOr<std::unique_ptr<ImageEncoding>> StartImage(
      absl::Span<const float> pixels) override {
    if (fail_image) return absl::ResourceExhaustedError("injected");
    return std::make_unique<FakeEncoding>(backend_, pixels[0]);
  }

  absl::Status forward_status;  // Of every forward pass.
  bool fail_logits = false, fail_image = false;
  size_t largest_batch = 0;
  std::function<void(int num_rows)> on_forward;

 private:
  // The rows of a prompt come together, or the last alone over slots that hold the others.
  static void SeeEachOther(const KvView& kv, const FakeKvPool& pool, std::vector<int32_t>* ids) {
    for (const KvSegment& segment : kv.layers[0]) {
      const int32_t prefix = segment.visible_prefix;
      if (prefix == 0) continue;
      int32_t* const rows = ids->data() + segment.row_begin;
      if (segment.first_visible == 1) {
        PREFIXD_CHECK(segment.num_rows >= prefix);
        const std::vector<int32_t> whole = FakeWholePrompt({rows, rows + prefix});
        std::copy(whole.begin(), whole.end(), rows);
      } else {
        PREFIXD_CHECK(segment.first_visible == prefix);
        const int32_t first = pool.tokens[static_cast<size_t>(segment.pages[0]) * kPageSlots];
        rows[0] = rows[0] * 1000 + first % 1000;
      }
    }
  }
  static void Write(const KvSegment& segment, const std::vector<int32_t>& ids, FakeKvPool* pool) {
    for (int32_t i = 0; i < segment.num_rows; ++i) {
      const int32_t slot = segment.write_slots[i];
      pool->at(segment.pages[slot / kPageSlots], slot % kPageSlots) = ids[segment.row_begin + i];
    }
  }
  static std::vector<int32_t> Visible(const KvSegment& segment, int32_t row, FakeKvPool* pool) {
    std::vector<int32_t> tokens;
    for (int32_t slot = 0; slot < segment.first_visible + row; ++slot) {
      tokens.push_back(pool->at(segment.pages[slot / kPageSlots], slot % kPageSlots));
    }
    return tokens;
  }

  FakeBackend* const backend_;
  ModelSpec spec_;
};

}  // namespace prefixd::testing

#endif  // PREFIXD_TESTS_ENGINE_FAKE_BACKEND_H_
