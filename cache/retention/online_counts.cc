#include "cache/retention/online_counts.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <functional>

#include "base/check.h"

namespace prefixd {
namespace {

// Sorts floats >= 0, given by their bits, whose order is theirs: by bytes, the lowest first.
void SortBits(std::vector<uint32_t>* bits, std::vector<uint32_t>* scratch) {
  scratch->resize(bits->size());
  for (int shift = 0; shift < 32; shift += 8) {
    std::array<size_t, 257> place = {};  // Of the next value with this byte.
    for (const uint32_t value : *bits) ++place[((value >> shift) & 0xff) + 1];
    for (size_t byte = 1; byte < place.size(); ++byte) place[byte] += place[byte - 1];
    for (const uint32_t value : *bits) (*scratch)[place[(value >> shift) & 0xff]++] = value;
    bits->swap(*scratch);
  }
}

// out[i] = the share of the i + 1 highest scores; as if all were equal where all are 0.
void CumulativeShares(absl::Span<const float> scores, std::vector<uint32_t>* bits,
                      std::vector<uint32_t>* scratch, absl::Span<double> out) {
  bits->clear();
  for (const float score : scores) bits->push_back(std::bit_cast<uint32_t>(score + 0.0f));
  SortBits(bits, scratch);
  double sum = 0;
  for (size_t i = 0; i < bits->size(); ++i) {
    sum += std::bit_cast<float>((*bits)[bits->size() - 1 - i]);
    if (i < out.size()) out[i] = sum;
  }
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] =
        sum > 0 ? out[i] / sum : static_cast<double>(i + 1) / static_cast<double>(scores.size());
  }
}

}  // namespace

std::vector<int32_t> OnlineForgetCounts(const PromptScores& prompt, double forget_ratio,
                                        int32_t num_protected) {
  const auto num_layers = static_cast<size_t>(prompt.num_layers);
  const int32_t num_tokens = prompt.num_tokens;
  PREFIXD_CHECK(prompt.scores.size() == num_layers * static_cast<size_t>(num_tokens));
  std::vector<int32_t> counts(num_layers, 0);
  const auto most = static_cast<size_t>(std::max(0, num_tokens - 1 - num_protected));
  const int64_t wanted = RoundHalfEven(static_cast<double>(num_layers) * num_tokens * forget_ratio);
  const size_t total =
      std::min(static_cast<size_t>(std::max<int64_t>(0, wanted)), num_layers * most);
  if (total == 0) return counts;

  // shares[l][i]: the key of the (most - i)-th entry that layer l forgets; ascending in i.
  std::vector<double> shares(num_layers * most);
  std::vector<uint32_t> bits, scratch;
  for (size_t layer = 0; layer < num_layers; ++layer) {
    CumulativeShares(prompt.layer(static_cast<int>(layer)), &bits, &scratch,
                     absl::MakeSpan(shares).subspan(layer * most, most));
  }
  // Entries with keys above the total-th highest go, and of its equals those of the higher layers.
  std::vector<double> order = shares;
  std::nth_element(order.begin(), order.begin() + static_cast<ptrdiff_t>(total - 1), order.end(),
                   std::greater<>());
  const double bar = order[total - 1];
  const auto count = [&](size_t layer, bool equals) {
    const auto begin = shares.begin() + static_cast<ptrdiff_t>(layer * most);
    const auto end = begin + static_cast<ptrdiff_t>(most);
    const auto from =
        equals ? std::lower_bound(begin, end, bar) : std::upper_bound(begin, end, bar);
    return static_cast<size_t>(end - from);
  };
  size_t left = total;
  for (size_t layer = 0; layer < num_layers; ++layer) left -= count(layer, /*equals=*/false);
  for (size_t layer = num_layers; layer-- > 0;) {
    const size_t above = count(layer, /*equals=*/false);
    const size_t equal = std::min(left, count(layer, /*equals=*/true) - above);
    left -= equal;
    counts[layer] = static_cast<int32_t>(above + equal);
  }
  return counts;
}

}  // namespace prefixd
