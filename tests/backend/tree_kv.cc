#include "tests/backend/tree_kv.h"

#include <algorithm>
#include <numeric>

namespace prefixd {
namespace {

void Append(const HostMatrix& rows, HostMatrix* y) {
  y->values.insert(y->values.end(), rows.values.begin(), rows.values.end());
  y->rows += rows.rows;
}

void Write(Backend* backend, const AttentionShape& shape, const HostMatrix& qkv,
           const KvSegment& segment, KvPool* pool) {
  const GuardedTensor x = GuardedTensor::Output(backend, qkv);
  const absl::Status written =
      backend->WriteKv(x.view(), nullptr, shape.num_heads, absl::MakeConstSpan(&segment, 1), pool);
  EXPECT_TRUE(written.ok()) << written;
  x.CheckGuards();
}

HostMatrix AttendRows(Backend* backend, const AttentionShape& shape, const HostMatrix& qkv,
                      absl::Span<const KvSegment> segments, const KvPool& pool) {
  const GuardedTensor q = GuardedTensor::Input(backend, qkv);
  const GuardedTensor slopes = GuardedTensor::Output(
      backend, RowVector(shape.alibi ? shape.slopes() : std::vector<float>{}), TensorUse::kAngles);
  return RunOp(backend, qkv.rows, shape.output_cols(), [&](const Tensor& y) {
    return backend->PagedAttention(
        q.view(), pool, shape.num_heads,
        {.scale = shape.scale(), .alibi_slopes = shape.alibi ? &slopes.view() : nullptr}, segments,
        y);
  });
}

std::vector<int32_t> UpTo(int32_t n) {
  std::vector<int32_t> all(n);
  std::iota(all.begin(), all.end(), 0);
  return all;
}

}  // namespace

std::vector<int32_t> TreeShape::Path(int32_t node) const {
  std::vector<int32_t> path;
  for (; node >= 0; node = parents[node]) path.push_back(node);
  std::reverse(path.begin(), path.end());
  return path;
}

TreeShape RandomTree(RandomValues* random, int32_t context, int32_t num_nodes, int32_t max_depth) {
  TreeShape tree = {.context = context, .parents = {}};
  std::vector<int32_t> depths;
  for (int32_t node = 0; node < num_nodes; ++node) {
    // The latest of them, or none, where that keeps the depth.
    const int32_t parent = std::max(node - 1 - random->Permutation(9)[0], -1);
    const bool deep = parent >= 0 && depths[parent] == max_depth;
    tree.parents.push_back(deep ? -1 : parent);
    depths.push_back(tree.parents.back() < 0 ? 1 : depths[parent] + 1);
  }
  return tree;
}

TreeShape Chain(int32_t context, int32_t num_nodes) {
  TreeShape tree = {.context = context, .parents = UpTo(num_nodes)};
  for (int32_t& parent : tree.parents) --parent;
  return tree;
}

TreeKv::TreeKv(Backend* backend, const AttentionShape& shape, const TreeShape& tree,
               const HostMatrix& qkv, int32_t first_position, RandomValues* random)
    : backend_(backend), shape_(shape), tree_(tree), qkv_(qkv), first_position_(first_position) {
  constexpr int32_t kGaps = 5;
  const int32_t num_slots = tree.context + tree.size() + kGaps;
  pages_ = random->Permutation(PagesFor(num_slots) + kSparePages);
  pool_ = MakePoisonedPool(backend, shape, static_cast<int32_t>(pages_.size()));
  spare_pages_.assign(pages_.end() - kSparePages, pages_.end());
  pages_.resize(pages_.size() - kSparePages);
  slots_ = random->Permutation(tree.size() + kGaps);
  slots_.resize(tree.size());
  for (int32_t& slot : slots_) slot += tree.context;
  for (int32_t node = 0; node < tree.size(); ++node) {
    begins_.push_back(static_cast<int32_t>(paths_.size()));
    for (const int32_t ancestor : tree.Path(node)) paths_.push_back(slots_[ancestor]);
  }
  begins_.push_back(static_cast<int32_t>(paths_.size()));
  const std::vector<int32_t> context_slots = UpTo(tree.context);
  Write(backend, shape, qkv.Rows(0, tree.context),
        {.num_rows = tree.context,
         .pages = pages_,
         .write_slots = context_slots,
         .first_visible = 1,
         .first_position = first_position},
        pool_.get());
  Write(backend, shape, qkv.Rows(tree.context, tree.size()), Segment(0, tree.size(), 0),
        pool_.get());
}

KvSegment TreeKv::Segment(int32_t begin, int32_t count, int32_t row_begin) {
  // Offsets of paths count from the whole tree's slots.
  return {.row_begin = row_begin,
          .num_rows = count,
          .pages = pages_,
          .write_slots = absl::MakeConstSpan(slots_).subspan(begin, count),
          .first_visible = tree_.context,
          .first_position = first_position_ + tree_.context,
          .path_begins = absl::MakeConstSpan(begins_).subspan(begin, count + 1),
          .path_slots = paths_};
}

HostMatrix TreeKv::Attend(const HostMatrix& qkv, absl::Span<const KvSegment> segments) const {
  return AttendRows(backend_, shape_, qkv, segments, *pool_);
}

HostMatrix TreeKv::AttendNodes(int32_t rows_per_call, int32_t rows_per_segment) {
  HostMatrix y(0, shape_.output_cols());
  for (int32_t begin = 0; begin < tree_.size(); begin += rows_per_call) {
    const int32_t count = std::min(rows_per_call, tree_.size() - begin);
    std::vector<KvSegment> segments;
    for (int32_t row = 0; row < count; row += rows_per_segment) {
      segments.push_back(Segment(begin + row, std::min(rows_per_segment, count - row), row));
    }
    Append(Attend(qkv_.Rows(tree_.context + begin, count), segments), &y);
  }
  return y;
}

HostMatrix NodesAsSequences(Backend* backend, const AttentionShape& shape, const TreeShape& tree,
                            const HostMatrix& qkv, int32_t first_position) {
  const int32_t num_pages = PagesFor(tree.context + tree.size());
  const std::vector<int32_t> pages = UpTo(num_pages), slots = UpTo(num_pages * kPageSlots);
  const auto pool = MakePoisonedPool(backend, shape, num_pages);
  const auto segment = [&](int32_t begin, int32_t count) {
    return KvSegment{.num_rows = count,
                     .pages = pages,
                     .write_slots = absl::MakeConstSpan(slots).subspan(begin, count),
                     .first_visible = begin + 1,
                     .first_position = first_position + begin};
  };
  Write(backend, shape, qkv.Rows(0, tree.context), segment(0, tree.context), pool.get());
  HostMatrix y(0, shape.output_cols());
  for (int32_t node = 0; node < tree.size(); ++node) {
    const std::vector<int32_t> path = tree.Path(node);
    HostMatrix rows(0, qkv.cols);
    for (const int32_t ancestor : path) Append(qkv.Rows(tree.context + ancestor, 1), &rows);
    Write(backend, shape, rows, segment(tree.context, static_cast<int32_t>(rows.rows)), pool.get());
    const KvSegment last = segment(tree.context + static_cast<int32_t>(rows.rows) - 1, 1);
    Append(AttendRows(backend, shape, qkv.Rows(tree.context + node, 1),
                      absl::MakeConstSpan(&last, 1), *pool),
           &y);
  }
  return y;
}

HostMatrix NodesInDouble(const AttentionShape& shape, const TreeShape& tree,
                         const HostMatrix& qkv) {
  HostMatrix y(tree.size(), shape.output_cols());
  for (int32_t node = 0; node < tree.size(); ++node) {
    std::vector<int32_t> tokens = UpTo(tree.context);
    for (const int32_t ancestor : tree.Path(node)) tokens.push_back(tree.context + ancestor);
    SeenSlots seen;
    for (size_t i = 0; i < tokens.size(); ++i) {
      seen.kv.push_back(qkv.row(tokens[i]) + shape.output_cols());
      seen.distances.push_back(static_cast<int32_t>(i) - static_cast<int32_t>(tokens.size()) + 1);
    }
    AttendInDouble(shape, qkv.row(tree.context + node), seen, y.row(node), nullptr);
  }
  return y;
}

}  // namespace prefixd
