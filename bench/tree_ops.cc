#include "bench/tree_ops.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "base/check.h"
#include "bench/probes.h"
#include "bench/random_operands.h"

namespace prefixd {
namespace {

// Seconds of CPU time per thread: neighbours on the machine do not count.
double Time(const Backend& backend, int calls, absl::FunctionRef<absl::Status()> op) {
  const double begin = CpuSeconds();
  for (int i = 0; i < calls; ++i) PREFIXD_CHECK(op().ok());
  return (CpuSeconds() - begin) / calls / backend.info().num_threads;
}

struct Ratio {
  std::vector<double> seconds, of_plain;

  void Add(double taken, double plain) {
    seconds.push_back(taken);
    of_plain.push_back(taken / plain);
  }
};

void BenchHead(Backend* backend, int repetitions, DType dtype, int32_t rows, int wanted_each) {
  constexpr int32_t kVocab = 49152, kDepth = 576;
  const auto weight = RandomMatrix(backend, dtype, kVocab, kDepth);
  const OwnedTensor x = RandomTensor(backend, rows, kDepth),
                    y = RandomTensor(backend, rows, kVocab);
  std::vector<int32_t> of_rows, columns;
  for (int32_t i = 0; i < rows * wanted_each; ++i) {
    of_rows.push_back(i / wanted_each);
    columns.push_back(i * 7919 % kVocab);
  }
  std::vector<float> logprobs(columns.size());
  Ratio ratio;
  for (int repetition = 0; repetition <= repetitions; ++repetition) {
    const int calls = rows < 32 ? 10 : 2;
    const double linear =
        Time(*backend, calls, [&] { return backend->Linear(x.view, *weight, {}, y.view); });
    const double head = Time(*backend, calls, [&] {
      return backend->HeadLogprobs(x.view, *weight, of_rows, columns, absl::MakeSpan(logprobs));
    });
    if (repetition > 0) ratio.Add(head, linear);  // The first warms up.
  }
  const absl::string_view name = DTypeName(dtype);
  std::printf("head %-5.*s %3d rows, %3d columns each %9.3f ms %6.3f of linear\n",
              static_cast<int>(name.size()), name.data(), rows, wanted_each,
              Median(ratio.seconds) * 1e3, Median(ratio.of_plain));
  std::fflush(stdout);
}

struct TreeCase {
  const char* name;
  DType dtype;
  int num_heads, num_kv_heads, head_dim;
  int32_t context, num_rows;
};

// Rows of paths of 1 to 6 slots, as a tree; the same rows as those of a prefill; and each as the
// last of a sequence that has all but one page in common with the others.
class TreeBatch {
 public:
  TreeBatch(Backend* backend, const TreeCase& c) : backend_(backend), c_(c) {
    const int32_t num_pages = (c.context + c.num_rows) / kPageSlots + 1;
    pages_.resize(num_pages);
    std::iota(pages_.begin(), pages_.end(), 0);
    slots_.resize(num_pages * kPageSlots);
    std::iota(slots_.begin(), slots_.end(), 0);
    pool_ = backend
                ->CreateKvPool({.num_pages = num_pages + c.num_rows,
                                .num_kv_heads = c.num_kv_heads,
                                .head_dim = c.head_dim,
                                .dtype = c.dtype})
                .value();
    const int64_t cols = int64_t{c.num_heads + 2 * c.num_kv_heads} * c.head_dim;
    const OwnedTensor all = RandomTensor(backend, static_cast<int64_t>(slots_.size()), cols);
    const KvSegment write = {.num_rows = static_cast<int32_t>(slots_.size()),
                             .pages = pages_,
                             .write_slots = slots_,
                             .first_visible = 1};
    PREFIXD_CHECK(backend
                      ->WriteKv(all.view, nullptr, c.num_heads,
                                absl::Span<const KvSegment>(&write, 1), pool_.get())
                      .ok());
    for (int32_t i = 0; i < c.num_rows; ++i) {
      begins_.push_back(static_cast<int32_t>(paths_.size()));
      for (int32_t j = i - i % 6; j <= i; ++j) paths_.push_back(c.context + j);
    }
    begins_.push_back(static_cast<int32_t>(paths_.size()));
    plain_ = {.num_rows = c.num_rows, .pages = pages_, .first_visible = c.context + 1};
    tree_ = {.num_rows = c.num_rows,
             .pages = pages_,
             .write_slots = absl::MakeConstSpan(slots_).subspan(c.context, c.num_rows),
             .first_visible = c.context,
             .path_begins = begins_,
             .path_slots = paths_};
    sequences_.resize(c.num_rows);
    for (int32_t i = 0; i < c.num_rows; ++i) {
      sequences_[i].assign(pages_.begin(), pages_.begin() + c.context / kPageSlots);
      sequences_[i].push_back(num_pages + i);
      decodes_.push_back(
          {.row_begin = i,
           .num_rows = 1,
           .pages = sequences_[i],
           .first_visible = std::min<int32_t>(
               c.context + 1 + i % 6, static_cast<int32_t>(sequences_[i].size()) * kPageSlots)});
    }
    q_ = RandomTensor(backend, c.num_rows, cols);
    y_ = RandomTensor(backend, c.num_rows, int64_t{c.num_heads} * c.head_dim);
  }

  double Tree() const { return Seconds({&tree_, 1}); }
  double Prefill() const { return Seconds({&plain_, 1}); }
  double Decodes() const { return Seconds(decodes_); }

 private:
  double Seconds(absl::Span<const KvSegment> segments) const {
    return Time(*backend_, 10, [&] {
      return backend_->PagedAttention(q_.view, *pool_, c_.num_heads, {.scale = 0.125f}, segments,
                                      y_.view);
    });
  }

  Backend* const backend_;
  const TreeCase c_;
  std::unique_ptr<KvPool> pool_;
  std::vector<int32_t> pages_, slots_, begins_, paths_;
  std::vector<std::vector<int32_t>> sequences_;
  KvSegment plain_, tree_;
  std::vector<KvSegment> decodes_;
  OwnedTensor q_, y_;
};

void BenchTree(Backend* backend, int repetitions, const TreeCase& c) {
  const TreeBatch batch(backend, c);
  Ratio of_prefill, of_decodes;
  for (int repetition = 0; repetition <= repetitions; ++repetition) {
    const double prefill = batch.Prefill(), tree = batch.Tree(), decodes = batch.Decodes();
    if (repetition == 0) continue;
    of_prefill.Add(tree, prefill);
    of_decodes.Add(tree, decodes);
  }
  std::printf("%-44s %9.3f ms %6.3f of a prefill %6.3f of decoding\n", c.name,
              Median(of_prefill.seconds) * 1e3, Median(of_prefill.of_plain),
              Median(of_decodes.of_plain));
  std::fflush(stdout);
}

}  // namespace

void BenchTreeOps(Backend* backend, int repetitions) {
  const TreeCase cases[] = {
      {"tree f32 250 rows on 640, 9/3 x 64", DType::kF32, 9, 3, 64, 640, 250},
      {"tree f32 250 rows on 647, 9/3 x 64", DType::kF32, 9, 3, 64, 647, 250},
      {"tree bf16 250 rows on 647, 9/3 x 64", DType::kBF16, 9, 3, 64, 647, 250},
      {"tree f32 32 rows on 647, 9/3 x 64", DType::kF32, 9, 3, 64, 647, 32},
      {"tree bf16 250 rows on 647, 32/32 x 128", DType::kBF16, 32, 32, 128, 647, 250},
      {"tree f32 250 rows on 7, 9/3 x 64", DType::kF32, 9, 3, 64, 7, 250},
  };
  for (const TreeCase& c : cases) BenchTree(backend, repetitions, c);
  for (const DType dtype : {DType::kBF16, DType::kF32, DType::kQ8_0}) {
    for (const int32_t rows : {250, 16, 1}) BenchHead(backend, repetitions, dtype, rows, 20);
  }
  BenchHead(backend, repetitions, DType::kBF16, 1, 10000);
}

}  // namespace prefixd
