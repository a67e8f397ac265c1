// PagedAttention over random trees of sequences that share leading pages: the bits of every segment
// are those of a call of its own, and near the reference's.
#include <algorithm>
#include <array>
#include <numeric>
#include <random>

#include "tests/backend/paged_kv.h"

namespace prefixd {
namespace {

using SharedAttentionTest = OpTest;
PREFIXD_INSTANTIATE_FOR_ALL_BACKENDS(SharedAttentionTest);

// A sequence of `len` slots, of which slots [own_begin, len) are written by itself and the earlier
// ones by the sequences that it shares pages with. Its last num_rows rows attend.
struct Branch {
  std::vector<int32_t> pages;
  int32_t own_begin = 0;
  int32_t len = 0;
  int32_t num_rows = 0;
};

class Forest {
 public:
  Forest(uint32_t seed, int num_branches, int max_own, int max_rows)
      : random_(seed), max_own_(max_own), max_rows_(max_rows) {
    for (int i = 0; i < num_branches; ++i) branches_.push_back(MakeBranch());
    std::shuffle(branches_.begin(), branches_.end(), random_);
  }

  const std::vector<Branch>& branches() const { return branches_; }
  int32_t num_pages() const { return num_pages_; }
  int32_t num_rows() const {
    int32_t rows = 0;
    for (const Branch& branch : branches_) rows += branch.num_rows;
    return rows;
  }

 private:
  int32_t Below(int32_t n) { return static_cast<int32_t>(random_() % n); }

  Branch MakeBranch() {
    Branch branch;
    if (!branches_.empty() && Below(5) > 0) {
      const Branch& parent = branches_[Below(static_cast<int32_t>(branches_.size()))];
      if (Below(4) == 0) {  // A reader of the parent's slots, up to the middle of a page.
        branch.pages = parent.pages;
        branch.own_begin = branch.len = 1 + Below(parent.len);
      } else {
        const int32_t shared = Below(parent.len / kPageSlots + 1);
        branch.pages.assign(parent.pages.begin(), parent.pages.begin() + shared);
        branch.own_begin = shared * kPageSlots;
      }
    }
    if (branch.len == 0) branch.len = branch.own_begin + 1 + Below(max_own_);
    while (static_cast<int32_t>(branch.pages.size()) < PagesFor(branch.len)) {
      branch.pages.push_back(num_pages_++);
    }
    // Decode rows for the most part, rows of prefills, and some that begin inside shared pages.
    branch.num_rows = Below(3) > 0 ? 1 : 1 + Below(std::min(branch.len, max_rows_));
    return branch;
  }

  std::mt19937 random_;
  const int max_own_;
  const int max_rows_;
  std::vector<Branch> branches_;
  int32_t num_pages_ = 0;
};

// The forest's keys and values in a poisoned pool of scrambled pages, and a query for every row.
class Kv {
 public:
  Kv(Backend* backend, const AttentionShape& shape, const Forest& forest, uint32_t seed)
      : backend_(backend),
        shape_(shape),
        pool_(MakePoisonedPool(backend, shape, forest.num_pages())),
        queries_(RandomValues(seed).Matrix(forest.num_rows(), shape.qkv_cols())) {
    RandomValues random(seed + 1);
    const std::vector<int32_t> ids = random.Permutation(forest.num_pages());
    for (const Branch& branch : forest.branches()) {
      std::vector<int32_t>& pages = pages_.emplace_back();
      for (const int32_t page : branch.pages) pages.push_back(ids[page]);
      Write(branch, pages, &random);
    }
    slots_.resize(forest.num_rows());  // Attention does not look at them.
    std::iota(slots_.begin(), slots_.end(), 0);
    int32_t row = 0;
    for (size_t i = 0; i < forest.branches().size(); ++i) {
      const Branch& branch = forest.branches()[i];
      segments_.push_back({.row_begin = row,
                           .num_rows = branch.num_rows,
                           .pages = pages_[i],
                           .write_slots = absl::MakeConstSpan(slots_).first(branch.num_rows),
                           .first_visible = branch.len - branch.num_rows + 1});
      row += branch.num_rows;
    }
  }

  HostMatrix AttendTogether() const { return Attend(queries_, segments_); }

  HostMatrix AttendOneByOne() const {
    HostMatrix y(0, shape_.output_cols());
    for (KvSegment segment : segments_) {
      const HostMatrix rows = queries_.Rows(segment.row_begin, segment.num_rows);
      segment.row_begin = 0;
      const HostMatrix part = Attend(rows, absl::MakeConstSpan(&segment, 1));
      y.values.insert(y.values.end(), part.values.begin(), part.values.end());
      y.rows += part.rows;
    }
    return y;
  }

 private:
  void Write(const Branch& branch, const std::vector<int32_t>& pages, RandomValues* random) {
    std::vector<int32_t> slots;
    for (int32_t slot = branch.own_begin; slot < branch.len; ++slot) slots.push_back(slot);
    if (slots.empty()) return;
    HostMatrix values = random->Matrix(static_cast<int64_t>(slots.size()), shape_.qkv_cols());
    // The reference keeps all digits.
    values = RoundedTo(shape_.kv_dtype, values);
    const GuardedTensor qkv = GuardedTensor::Output(backend_, values);
    const KvSegment segment = {.num_rows = static_cast<int32_t>(slots.size()),
                               .pages = pages,
                               .write_slots = slots,
                               .first_visible = branch.own_begin + 1};
    const absl::Status written = backend_->WriteKv(qkv.view(), nullptr, shape_.num_heads,
                                                   absl::MakeConstSpan(&segment, 1), pool_.get());
    ASSERT_TRUE(written.ok()) << written;
  }

  HostMatrix Attend(const HostMatrix& queries, absl::Span<const KvSegment> segments) const {
    const GuardedTensor q = GuardedTensor::Input(backend_, queries);
    return RunOp(backend_, queries.rows, shape_.output_cols(), [&](const Tensor& y) {
      return backend_->PagedAttention(q.view(), *pool_, shape_.num_heads, {.scale = shape_.scale()},
                                      segments, y);
    });
  }

  Backend* const backend_;
  const AttentionShape shape_;
  const std::unique_ptr<KvPool> pool_;
  const HostMatrix queries_;
  std::vector<std::vector<int32_t>> pages_;
  std::vector<int32_t> slots_;
  std::vector<KvSegment> segments_;
};

TEST_P(SharedAttentionTest, SharingShowsInNoBit) {
  const bool is_reference = backend_->info().name == "ref";
  std::vector<std::unique_ptr<Backend>> backends;
  for (const int threads : is_reference ? std::vector<int>{1} : GetParam().Threads({1, 2, 3})) {
    backends.push_back(GetParam().Create(threads));
  }
  uint32_t seed = 100;
  for (const AttentionShape& base : GetParam().Cases(
           std::vector<AttentionShape>{{.num_heads = 9, .num_kv_heads = 3, .head_dim = 64},
                                       {.num_heads = 4, .num_kv_heads = 4, .head_dim = 72},
                                       {.num_heads = 6, .num_kv_heads = 1, .head_dim = 5},
                                       {.num_heads = 17, .num_kv_heads = 1, .head_dim = 18},
                                       {.num_heads = 1, .num_kv_heads = 1, .head_dim = 128}})) {
    for (const DType dtype : GetParam().kv_dtypes) {
      for (const auto& [branches, max_own, max_rows] :
           GetParam().Cases(std::vector<std::array<int, 3>>{{7, 60, 90},
                                                            {1, 300, 40},
                                                            {3, 500, 300},
                                                            {2, 300, 1},
                                                            {40, 50, 6},
                                                            {16, 140, 20}})) {
        AttentionShape shape = base;
        shape.kv_dtype = dtype;
        const Forest forest(++seed, branches, max_own, max_rows);
        SCOPED_TRACE(::testing::Message()
                     << shape.num_heads << " heads, " << shape.num_kv_heads << " kv heads of "
                     << shape.head_dim << ", " << DTypeName(dtype) << ", " << branches
                     << " sequences, seed " << seed);
        const HostMatrix expected = Kv(reference_.get(), shape, forest, seed).AttendTogether();
        for (const auto& backend : backends) {
          const Kv kv(backend.get(), shape, forest, seed);
          const HostMatrix together = kv.AttendTogether();
          if (GetParam().exact) ExpectSameBits(together, kv.AttendOneByOne());
          ExpectNear(together, expected, 3e-6);
          if (HasFailure()) FAIL() << backend->info().num_threads << " threads";
        }
      }
    }
  }
}

// 40 decode rows and 40 prefills on a prefix of 37 pages: several tiles, a block shared in part.
TEST_P(SharedAttentionTest, ManySequencesOnOnePrefix) {
  const AttentionShape shape = {.num_heads = 6, .num_kv_heads = 2, .head_dim = 16};
  PREFIXD_NEEDS_EXACT_ROWS();
  const int32_t num_sequences = GetParam().Many(80, 12);
  constexpr int32_t kPrefix = 37 * kPageSlots;
  RandomValues random(7);
  const auto pool = MakePoisonedPool(backend_.get(), shape, 37 + num_sequences);
  std::vector<std::vector<int32_t>> pages(num_sequences);
  std::vector<int32_t> slots(kPrefix + 8);
  std::iota(slots.begin(), slots.end(), 0);
  std::vector<KvSegment> segments;
  int32_t num_rows = 0;
  for (int32_t i = 0; i < num_sequences; ++i) {
    pages[i] = std::vector<int32_t>(slots.begin(), slots.begin() + 37);
    pages[i].push_back(37 + i);
    const int32_t rows = i % 2 == 0 ? 1 : 8;
    segments.push_back({.row_begin = num_rows,
                        .num_rows = rows,
                        .pages = pages[i],
                        .write_slots = absl::MakeConstSpan(slots).subspan(kPrefix, rows),
                        .first_visible = kPrefix + 1});
    num_rows += rows;
  }
  const GuardedTensor prefix =
      GuardedTensor::Output(backend_.get(), random.Matrix(kPrefix, shape.qkv_cols()));
  const KvSegment write = {.num_rows = kPrefix,
                           .pages = pages[0],
                           .write_slots = absl::MakeConstSpan(slots).first(kPrefix),
                           .first_visible = 1};
  ASSERT_TRUE(
      backend_->WriteKv(prefix.view(), nullptr, 6, absl::MakeConstSpan(&write, 1), pool.get())
          .ok());
  const GuardedTensor qkv =
      GuardedTensor::Output(backend_.get(), random.Matrix(num_rows, shape.qkv_cols()));
  ASSERT_TRUE(backend_->WriteKv(qkv.view(), nullptr, 6, segments, pool.get()).ok());
  const auto attend = [&](absl::Span<const KvSegment> part) {
    return RunOp(backend_.get(), num_rows, shape.output_cols(), [&](const Tensor& y) {
      return backend_->PagedAttention(qkv.view(), *pool, 6, {.scale = shape.scale()}, part, y);
    });
  };
  const HostMatrix together = attend(segments);
  for (const KvSegment& segment : segments) {
    const HostMatrix alone = attend(absl::MakeConstSpan(&segment, 1));
    ExpectSameBits(together.Rows(segment.row_begin, segment.num_rows),
                   alone.Rows(segment.row_begin, segment.num_rows));
    ASSERT_FALSE(HasFailure()) << "row " << segment.row_begin;
  }
}

}  // namespace
}  // namespace prefixd
