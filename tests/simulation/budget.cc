#include "tests/simulation/budget.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <tuple>

#include "base/check.h"

namespace prefixd::simulation {
namespace {

// [num_layers][n], whole numbers.
using Scores = std::vector<std::vector<int64_t>>;

// The attention of the queries that the policy looks at, summed by key.
Scores AttentionSums(const ScoreNeeds& needs, int num_layers, absl::Span<const ChainHash> chains) {
  Scores sums(static_cast<size_t>(num_layers), std::vector<int64_t>(chains.size()));
  if (!needs.any()) return sums;
  const auto window = static_cast<size_t>(needs.window);
  const size_t first = window > 0 && window < chains.size() ? chains.size() - window : 0;
  for (int layer = 0; layer < num_layers; ++layer) {
    for (size_t query = first; query < chains.size(); ++query) {
      for (size_t key = 0; key <= query; ++key) {
        sums[layer][key] += AttentionScore(layer, chains[query], chains[key]);
      }
    }
  }
  return sums;
}

LayerSelection Everything(int32_t n) {
  LayerSelection all;
  for (int32_t position = 0; position < n; ++position) all.kept.push_back(position);
  return all;
}

// Without the `forget` lowest of those that are not protected, the lower positions first.
LayerSelection WithoutLowest(const RetentionRecipe& recipe, const std::vector<int64_t>& scores,
                             int64_t forget) {
  const auto n = static_cast<int32_t>(scores.size());
  std::vector<std::pair<int64_t, int32_t>> candidates;
  for (int32_t position = recipe.start_size; position < n - recipe.protect; ++position) {
    candidates.emplace_back(scores[position], position);
  }
  std::sort(candidates.begin(), candidates.end());
  std::vector<bool> dropped(scores.size());
  for (int64_t i = 0; i < forget; ++i) dropped[candidates[i].second] = true;
  LayerSelection selection{.forget_ratio = static_cast<double>(forget) / n};
  for (int32_t position = 0; position < n; ++position) {
    if (!dropped[position]) selection.kept.push_back(position);
  }
  return selection;
}

// Rule 16, word by word.
std::vector<LayerSelection> SelectPrefixKv(const RetentionRecipe& recipe, const Scores& scores) {
  const auto num_layers = static_cast<int64_t>(scores.size());
  const auto n = static_cast<int64_t>(scores[0].size());
  const int64_t most = std::max<int64_t>(0, n - 1 - recipe.start_size - recipe.protect);
  std::vector<std::tuple<double, int64_t, int64_t>> entries;  // Key, layer, k; to be forgotten.
  for (int64_t layer = 0; layer < num_layers; ++layer) {
    std::vector<int64_t> sorted = scores[layer];
    std::sort(sorted.rbegin(), sorted.rend());
    std::partial_sum(sorted.begin(), sorted.end(), sorted.begin());
    const auto all = static_cast<double>(sorted.back());
    for (int64_t k = 1; k <= most; ++k) {
      entries.emplace_back(static_cast<double>(sorted[most - k]) / all, layer, k);
    }
  }
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    if (std::get<0>(a) != std::get<0>(b)) return std::get<0>(a) > std::get<0>(b);
    if (std::get<1>(a) != std::get<1>(b)) return std::get<1>(a) > std::get<1>(b);
    return std::get<2>(a) < std::get<2>(b);
  });
  const double wanted = static_cast<double>(num_layers * n) * (1.0 - recipe.budget);
  const auto total = std::min<size_t>(static_cast<size_t>(std::nearbyint(wanted)), entries.size());
  std::vector<int64_t> forget(scores.size());
  for (size_t i = 0; i < total; ++i) ++forget[static_cast<size_t>(std::get<1>(entries[i]))];
  std::vector<LayerSelection> layers;
  for (size_t i = 0; i < scores.size(); ++i) {
    layers.push_back(WithoutLowest(recipe, scores[i], forget[i]));
  }
  return layers;
}

// The first tokens and the most recent, as many as ElasticCache counts.
LayerSelection SelectLocal(const RetentionRecipe& recipe, int32_t n) {
  const double allowed = static_cast<double>(n) * (1.0 - recipe.forget_ratio());
  const auto over = static_cast<int32_t>(static_cast<double>(n) - allowed);
  const int32_t forget = std::clamp(over, 0, std::max(0, n - recipe.start_size - recipe.protect));
  LayerSelection selection{.forget_ratio = recipe.forget_ratio()};
  for (int32_t position = 0; position < n; ++position) {
    const bool between = recipe.start_size <= position && position < recipe.start_size + forget;
    if (!between) selection.kept.push_back(position);
  }
  return selection;
}

std::vector<LayerSelection> SelectBy(const RetentionRecipe& recipe, const Scores& scores,
                                     uint64_t seed) {
  const auto n = static_cast<int32_t>(scores[0].size());
  const absl::string_view name = recipe.policy->name();
  if (name == "prefixkv") return SelectPrefixKv(recipe, scores);
  if (name == "local") return std::vector(scores.size(), SelectLocal(recipe, n));
  if (name == "full") return std::vector(scores.size(), Everything(n));
  std::vector<float> values;
  if (recipe.policy->needs().any()) {
    for (const auto& layer : scores) values.insert(values.end(), layer.begin(), layer.end());
  }
  return recipe.policy->Select(recipe, {.num_layers = static_cast<int>(scores.size()),
                                        .num_tokens = n,
                                        .scores = values,
                                        .seed = seed});
}

// What the slot of a kept position holds afterwards.
ChainHash Merged(const LayerSelection& selection, int32_t position,
                 absl::Span<const ChainHash> chains) {
  if (selection.merged_into.empty()) return chains[position];
  std::vector<ChainHash> sources;
  for (size_t i = 0; i < chains.size(); ++i) {
    if (selection.merged_into[i] == position) sources.push_back(chains[i]);
  }
  return MeanOf(sources);
}

bool DropsAtAll(const RetentionPolicy& policy) {
  return policy.name() != "full" && policy.name() != "snapkv" && policy.name() != "pyramidkv" &&
         policy.name() != "streaming-llm";
}

}  // namespace

RetentionRecipe RecipeOf(const RequestSpec& spec) {
  return {.policy = FindRetentionPolicy(kPolicyNames[spec.policy]),
          .budget = static_cast<double>(spec.budget) / 1000.0,
          .start_size = static_cast<int32_t>(spec.start_size),
          .protect = static_cast<int32_t>(spec.protect),
          .distance = static_cast<int32_t>(spec.distance)};
}

RetentionParams RetentionOf(const RequestSpec& spec) {
  const RetentionRecipe recipe = RecipeOf(spec);
  RetentionParams params{.budget = recipe.budget,
                         .policy = std::string(recipe.policy->name()),
                         .start_size = recipe.start_size,
                         .protect = recipe.protect,
                         .distance = recipe.distance};
  if (spec.retention == kOff) params.scope = RetentionScope::kOff;
  if (spec.retention == kExact) params.scope = RetentionScope::kExact;
  if (spec.retention == kShared) params.scope = RetentionScope::kShared;
  return params;
}

KeptLists::KeptLists(const RetentionRecipe& recipe, int num_layers,
                     absl::Span<const ChainHash> chains, uint64_t seed)
    : recipe_(recipe),
      boundary_(static_cast<int32_t>(chains.size())),
      next_(boundary_),
      layers_(static_cast<size_t>(num_layers)) {
  const ScoreNeeds needs = recipe.policy->needs();
  const Scores scores = AttentionSums(needs, num_layers, chains);
  const std::vector<LayerSelection> selection = SelectBy(recipe, scores, seed);
  double mass = 0;
  for (int i = 0; i < num_layers; ++i) {
    Layer& layer = layers_[i];
    layer.forget_ratio = selection[i].forget_ratio;
    layer.gone_at.assign(chains.size(), boundary_);
    layer.chains.assign(chains.begin(), chains.end());
    int64_t kept = 0;
    for (const int32_t position : selection[i].kept) {
      const ChainHash chain = Merged(selection[i], position, chains);
      layer.kept.push_back({position, chain, scores[i][position]});
      layer.gone_at[position] = std::numeric_limits<int32_t>::max();
      layer.chains[position] = chain;
      view_ += SeenSlot(i, chain, position);
      kept += scores[i][position];
    }
    kept_tokens_.push_back(static_cast<int32_t>(layer.kept.size()));
    const int64_t all = std::accumulate(scores[i].begin(), scores[i].end(), int64_t{0});
    mass += needs.any() ? static_cast<double>(kept) / static_cast<double>(all) : 1.0;
  }
  score_mass_ = mass / num_layers;
}

void KeptLists::Add(ChainHash chain) {
  const bool scored = recipe_.policy->needs().decode;
  for (size_t i = 0; i < layers_.size(); ++i) {
    Layer& layer = layers_[i];
    layer.kept.push_back({next_, chain, 0});
    layer.gone_at.push_back(std::numeric_limits<int32_t>::max());
    layer.chains.push_back(chain);
    layer.seen.push_back(static_cast<int32_t>(layer.kept.size()));
    view_ += SeenSlot(static_cast<int>(i), chain, next_);
    if (!scored) continue;
    for (Token& token : layer.kept) {
      token.score += AttentionScore(static_cast<int>(i), chain, token.chain);
    }
  }
  drops_before_.push_back(drops_);
  ++next_;
}

void KeptLists::BeginDrops(bool shared) {
  if (shared) seen_before_ = next_;
  for (Layer& layer : layers_) {
    const auto length = static_cast<int32_t>(layer.kept.size());
    if (shared) layer.offset = static_cast<double>(length);
    int32_t at = recipe_.distance;
    if (at <= 0) at = length + at >= 1 ? length + at : length / 2;
    if (recipe_.policy->name() == "local") at = 0;
    layer.drop_at = static_cast<size_t>(std::max(at, recipe_.start_size));
  }
}

int64_t KeptLists::Over(const Layer& layer) const {
  const double allowed =
      layer.offset + static_cast<double>(next_ - seen_before_) * (1.0 - layer.forget_ratio);
  return std::max<int64_t>(0,
                           static_cast<int64_t>(static_cast<double>(layer.kept.size()) - allowed));
}

void KeptLists::Drop() {
  if (!DropsAtAll(*recipe_.policy)) return;
  if (recipe_.policy->name() == "h2o") return DropLowestScore();
  for (size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    if (Over(layer) < 1 || layer.drop_at >= layer.kept.size()) continue;
    Delete(static_cast<int>(i), layer.drop_at);
  }
}

// One place in all layers, which hold the same positions; neither a first token nor the newest.
void KeptLists::DropLowestScore() {
  if (Over(layers_[0]) < 1) return;
  const std::vector<Token>& first = layers_[0].kept;
  std::optional<size_t> lowest;
  int64_t least = 0;
  for (size_t i = 0; i + 1 < first.size(); ++i) {
    if (first[i].position < recipe_.start_size) continue;
    int64_t score = 0;
    for (const Layer& layer : layers_) score += layer.kept[i].score;
    if (lowest && score >= least) continue;
    lowest = i;
    least = score;
  }
  if (!lowest) return;
  for (size_t i = 0; i < layers_.size(); ++i) Delete(static_cast<int>(i), *lowest);
}

void KeptLists::Delete(int index, size_t at) {
  Layer& layer = layers_[index];
  const Token token = layer.kept[at];
  layer.kept.erase(layer.kept.begin() + static_cast<ptrdiff_t>(at));
  layer.gone_at[token.position] = next_;
  view_ -= SeenSlot(index, token.chain, token.position);
  ++drops_;
}

}  // namespace prefixd::simulation
