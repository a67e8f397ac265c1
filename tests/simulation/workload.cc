#include "tests/simulation/workload.h"

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "tests/simulation/choices.h"
#include "tests/simulation/oracle.h"

namespace prefixd::simulation {
namespace {

constexpr int64_t kStepUs = 1000;  // About the time of a step.

Config DrawConfig(uint64_t seed) {
  Choices draw(seed, Component::kConfig);
  Config config;
  config.layers = draw.Logarithmic(1, 8);
  const int64_t columns = draw.Logarithmic(1, 512 / config.layers);
  config.pages = std::max<int64_t>(4, config.layers * columns + draw.Between(0, config.layers - 1));
  config.context = draw.Logarithmic(20, 200);
  config.vocab = draw.Between(5, 20);
  config.max_running = draw.Logarithmic(1, 16);
  config.max_batch = draw.Logarithmic(config.max_running, 64);
  config.chunk = draw.OneOf({0, 0, 1, 3, 7, 16, 33});
  config.max_output = draw.Logarithmic(4, 64);
  config.image_rows = draw.OneOf({1, 3, 5, 16, 19});
  config.tower_steps = draw.Between(1, 4);
  config.tower_rows = draw.OneOf({1, 4, 16, 40});
  config.fail_all = draw.Percent(15);
  config.cache = draw.Percent(85);
  config.reserve = draw.Percent(20);
  config.key_bits = draw.Percent(30) ? draw.Between(1, 8) : 256;
  config.features = draw.OneOf({0, 0, 100, 1000, 10000});
  config.pinned_share = draw.OneOf({20, 50, 100});
  return config;
}

std::vector<TenantSpec> DrawTenants(uint64_t seed) {
  Choices draw(seed, Component::kTenants);
  std::vector<TenantSpec> tenants;
  if (draw.Percent(40)) return tenants;
  const int64_t count = draw.Between(1, 5);
  const bool equal = draw.Percent(40), limits = draw.Percent(60);
  for (int64_t t = 0; t < count; ++t) {
    TenantSpec& tenant = tenants.emplace_back();
    if (!equal) tenant.weight = draw.Between(1, 5);
    if (!limits) continue;
    if (draw.Percent(60)) tenant.share = draw.Between(20, 100);
    if (draw.Percent(50)) tenant.floor = draw.Between(1, std::min(tenant.share, 60 / count));
    if (draw.Percent(30)) tenant.max_running = draw.Between(1, 6);
  }
  return tenants;
}

// Only what makes a recipe is set.
RequestSpec DrawRecipe(Choices* draw) {
  RequestSpec recipe;
  if (draw->Percent(65)) {
    recipe.policy = draw->Between(0, static_cast<int64_t>(std::size(kPolicyNames)) - 1);
  }
  recipe.budget = draw->Percent(80) ? 50 * draw->Between(1, 19) : draw->OneOf({1, 50, 1000, 1000});
  recipe.start_size = draw->OneOf({1, 1, 1, 0, 4, 17});
  recipe.protect = draw->OneOf({1, 1, 1, 3, 8});
  recipe.distance = draw->OneOf({-25, -25, -2, -6, 0, 3, 20});
  return recipe;
}

// Which features a seed uses, and how much of each, in percent.
struct Mixture {
  explicit Mixture(Choices* draw) {
    const auto maybe = [draw](int64_t most) {
      return draw->Percent(50) ? draw->Between(1, most) : 0;
    };
    images = maybe(60);
    choices = maybe(80);
    priorities = maybe(80);
    sampled = maybe(80);
    penalties = maybe(50);
    stops = maybe(95);
    deadlines = maybe(30);
    soft_limits = maybe(50);
    unset_length = maybe(20);
    logprobs = maybe(20);
    salts = maybe(40);
    bypasses = maybe(30);
    pins = maybe(10);
    cancels = maybe(20);
    stalls = maybe(30);
    budgets = maybe(95);
    shared = draw->Between(10, 90);
    follows = maybe(40);
    branch = draw->Between(20, 95);
    alphabet = draw->Between(1, 4);
    for (int64_t i = draw->Between(1, 3); i > 0; --i) recipes.push_back(DrawRecipe(draw));
  }
  int64_t images, choices, priorities, sampled, penalties, stops, deadlines, soft_limits,
      unset_length, logprobs, salts, bypasses, pins, cancels, stalls, budgets, shared, follows;
  std::vector<RequestSpec> recipes;  // The budgets that requests choose from; not empty.
  int64_t branch, alphabet;          // How often a prompt branches off an earlier one; its letters.
};

int64_t RowsOf(const Config& config, int64_t token) { return token < 0 ? config.image_rows : 1; }

// A path in a random trie: the beginning of an earlier prompt, then something new.
std::vector<int64_t> DrawPrompt(const Config& config, const Mixture& mix,
                                const std::vector<RequestSpec>& earlier, Choices* draw) {
  const int64_t most = std::min(config.context - 1, config.pages / config.layers * 20);
  const int64_t wanted = draw->Percent(50) ? draw->Between(1, most) : draw->Logarithmic(1, most);
  std::vector<int64_t> prompt;
  int64_t rows = 0;
  const auto add = [&](int64_t token) {
    if (rows + RowsOf(config, token) > config.context - 1) return;
    prompt.push_back(token);
    rows += RowsOf(config, token);
  };
  if (!earlier.empty() && draw->Percent(mix.branch)) {
    const auto& from = earlier[draw->Between(0, static_cast<int64_t>(earlier.size()) - 1)].prompt;
    const auto size = static_cast<int64_t>(from.size());
    if (draw->Percent(12)) {  // The same but for one item, an image if there is one.
      prompt = from;
      const auto image =
          std::find_if(prompt.begin(), prompt.end(), [](int64_t t) { return t < 0; });
      int64_t& item = image != prompt.end() ? *image : prompt[draw->Between(0, size - 1)];
      item = item < 0 ? -1 - (-item % 3) : item % (config.vocab - 2) + 1;
      return prompt;
    }
    const int64_t shared = draw->Between(1, size);
    for (int64_t i = 0; i < shared && rows < wanted; ++i) add(from[i]);
  }
  const int64_t letters = std::min(mix.alphabet, config.vocab - 2);
  while (rows < wanted) {
    // An image every dozen rows or so.
    const bool image = draw->Percent(mix.images) && draw->Percent(12);
    add(image ? -draw->Between(1, 3) : draw->Between(1, letters));
  }
  if (prompt.empty()) add(1);
  return prompt;
}

// A prompt that begins with what an earlier one shares: its named prefix, its first image, or what
// it pins. Returns the number of items of a prefix to name; 0: none.
int64_t DrawSharedPrompt(const Config& config, const Mixture& mix,
                         const std::vector<RequestSpec>& earlier, Choices* draw,
                         std::vector<int64_t>* prompt) {
  *prompt = DrawPrompt(config, mix, earlier, draw);
  std::vector<const RequestSpec*> sharing;
  for (const RequestSpec& request : earlier) {
    if (request.pin != 0 || request.retention > kExact) sharing.push_back(&request);
  }
  const auto size = static_cast<int64_t>(prompt->size());
  if (sharing.empty() || !draw->Percent(75)) return draw->Percent(85) ? draw->Between(1, size) : 0;
  const RequestSpec& from = *sharing[draw->Between(0, static_cast<int64_t>(sharing.size()) - 1)];
  const auto image =
      std::find_if(from.prompt.begin(), from.prompt.end(), [](int64_t token) { return token < 0; });
  int64_t items = from.pin != 0 ? static_cast<int64_t>(from.prompt.size()) : from.prefix;
  if (items == 0 && image != from.prompt.end()) items = image - from.prompt.begin() + 1;
  items = std::min(items, static_cast<int64_t>(from.prompt.size()));
  // What it goes on with is new.
  std::vector<int64_t> joined(from.prompt.begin(), from.prompt.begin() + items);
  int64_t rows = 0;
  for (const int64_t token : joined) rows += RowsOf(config, token);
  for (const int64_t token : *prompt) {
    rows += RowsOf(config, token);
    if (rows > config.context - 1) break;
    joined.push_back(token);
  }
  *prompt = std::move(joined);
  return from.prefix > 0 || from.pin != 0 ? items : 0;
}

// The next turn of an earlier request's conversation: its prompt, its answer, and more.
std::vector<int64_t> DrawFollowUp(const Config& config, const RequestSpec& before, Choices* draw) {
  std::vector<int64_t> prompt = before.prompt;
  Oracle oracle(config, before);
  int64_t rows = oracle.prompt_rows();
  const int64_t most = before.max_tokens > 0 ? std::min<int64_t>(before.max_tokens, 24) : 24;
  const auto add = [&](int64_t token) {
    if (++rows < config.context) prompt.push_back(token);
  };
  for (int32_t i = 0; i < most && !oracle.cannot_share(); ++i) {
    const int32_t token = oracle.Token(0, i);
    if (token == kEos) break;
    add(token);
  }
  for (int64_t i = draw->Between(1, 6); i > 0; --i) add(1);
  return prompt;
}

RequestSpec DrawRequest(const Config& config, const Mixture& mix, size_t num_tenants,
                        const std::vector<RequestSpec>& earlier, Choices* draw) {
  RequestSpec request;
  const bool budget = draw->Percent(mix.budgets);
  const bool shared = budget && draw->Percent(mix.shared);
  if (shared) {
    request.prefix = DrawSharedPrompt(config, mix, earlier, draw, &request.prompt);
  } else {
    request.prompt = DrawPrompt(config, mix, earlier, draw);
  }
  const auto tenants = static_cast<int64_t>(num_tenants);
  if (tenants > 1) request.tenant = draw->Between(0, tenants - 1);
  if (draw->Percent(mix.salts)) request.salt = draw->Between(1, 2);
  if (draw->Percent(mix.deadlines)) request.deadline = draw->Logarithmic(1, 200 * kStepUs);
  if (config.cache != 0 && draw->Percent(mix.pins)) {
    request.pin = draw->Logarithmic(kStepUs, 1000 * kStepUs);
    request.prefix = 0;
    return request;
  }
  if (budget) {
    const auto last = static_cast<int64_t>(mix.recipes.size()) - 1;
    const RequestSpec& recipe = mix.recipes[draw->Between(0, last)];
    request.retention = !shared ? kExact : draw->Percent(80) ? kShared : kByDefault;
    request.policy = recipe.policy;
    request.budget = recipe.budget;
    request.start_size = recipe.start_size;
    request.protect = recipe.protect;
    request.distance = recipe.distance;
    // It goes on scoring, so it cannot share.
    const bool h2o = kPolicyNames[request.policy] == "h2o";
    if (shared && h2o && !draw->Percent(5)) request.policy = 0;
  }
  if (draw->Percent(mix.bypasses)) request.bypass = 1;
  request.max_tokens = draw->Percent(mix.unset_length) ? 0 : draw->Logarithmic(1, 48);
  if (draw->Percent(mix.choices)) {
    const int64_t most = draw->Percent(90) ? std::min<int64_t>(4, config.max_running) : 4;
    request.choices = draw->Between(1, most);
  }
  if (draw->Percent(mix.priorities)) request.priority = draw->Between(-1, 2);
  request.seed = draw->Between(0, 1000);
  if (draw->Percent(mix.sampled)) {
    request.temperature = draw->Between(1, 30);
    if (draw->Percent(30)) request.top_k = draw->Between(1, config.vocab);
  }
  if (draw->Percent(mix.penalties)) request.penalty = draw->Between(1, 15);
  if (draw->Percent(mix.stops)) {
    const int64_t last = config.vocab - 2;
    if (draw->Percent(40)) request.stop_token = draw->Between(1, last);
    if (draw->Percent(60)) request.stop_first = draw->Between(1, last);
    if (request.stop_first > 0 && draw->Percent(80)) request.stop_second = draw->Between(1, last);
    if (draw->Percent(30)) request.min_tokens = draw->Between(1, 8);
    if (draw->Percent(20)) request.ignore_eos = 1;
  }
  if (draw->Percent(mix.soft_limits)) request.soft_limit = draw->Logarithmic(1, 100 * kStepUs);
  if (draw->Percent(mix.logprobs)) request.logprobs = draw->Between(1, 4);
  if (draw->Percent(mix.cancels)) request.cancel_at = draw->Logarithmic(1, 60);
  if (draw->Percent(mix.stalls)) {
    request.stall_at = draw->Logarithmic(1, 40);
    request.stall_steps = draw->Logarithmic(1, 40);
  }
  return request;
}

void DrawRequests(uint64_t seed, Scenario* scenario) {
  Choices draw(seed, Component::kWorkload);
  const Mixture mix(&draw);
  const int64_t count = draw.Logarithmic(4, 400);
  const int64_t most_apart = draw.Logarithmic(kStepUs / 2, 200 * kStepUs);
  int64_t at = 0;
  for (int64_t id = 1; id <= count; ++id) {
    RequestSpec request =
        DrawRequest(scenario->config, mix, scenario->tenants.size(), scenario->requests, &draw);
    request.id = id;
    request.at = at;
    if (!scenario->requests.empty() && draw.Percent(mix.follows)) {
      const auto count = static_cast<int64_t>(scenario->requests.size());
      const RequestSpec& before =
          scenario->requests[draw.Between(std::max<int64_t>(0, count - 8), count - 1)];
      if (before.pin == 0) {
        request.prompt = DrawFollowUp(scenario->config, before, &draw);
        request.tenant = before.tenant;
        request.salt = before.salt;
        if (request.retention > kExact) request.prefix = before.prefix;
      }
    }
    scenario->requests.push_back(std::move(request));
    if (!draw.Percent(30)) at += draw.Between(0, most_apart);
  }
}

void DrawActions(uint64_t seed, Scenario* scenario) {
  Choices draw(seed, Component::kFaults);
  const auto add = [&](int64_t at, ActionKind kind, int64_t request, int64_t value) {
    scenario->actions.push_back({.at = at, .kind = kind, .request = request, .value = value});
  };
  const auto maybe = [&](int64_t most) { return draw.Percent(50) ? draw.Between(1, most) : 0; };
  const int64_t cancels = maybe(30), drains = maybe(5), stalls = maybe(40);
  for (const RequestSpec& request : scenario->requests) {
    const auto later = [&] { return request.at + draw.Logarithmic(kStepUs / 10, 80 * kStepUs); };
    if (draw.Percent(cancels)) add(later(), ActionKind::kCancel, request.id, 0);
    if (draw.Percent(drains)) add(later(), ActionKind::kDrain, request.id, 0);
    while (draw.Percent(stalls)) {
      const int64_t begin = later();
      add(begin, ActionKind::kStall, request.id, 0);
      if (!draw.Percent(85)) break;
      add(begin + draw.Logarithmic(1, 40 * kStepUs), ActionKind::kResume, request.id, 0);
    }
  }
  const int64_t end = scenario->requests.back().at + 40 * kStepUs;
  const auto sprinkle = [&](ActionKind kind, int64_t most_times, int64_t most_value) {
    for (int64_t i = maybe(most_times); i > 0; --i) {
      add(draw.Between(0, end), kind, 0, most_value > 0 ? draw.Between(0, most_value) : 0);
    }
  };
  for (const RequestSpec& request : scenario->requests) {
    if (request.pin == 0 || !draw.Percent(50)) continue;
    add(request.at + draw.Logarithmic(kStepUs, 200 * kStepUs), ActionKind::kRelease, request.id, 0);
  }
  sprinkle(ActionKind::kFlush, 4, static_cast<int64_t>(scenario->tenants.size()));
  sprinkle(ActionKind::kClockJump, 4, 50 * kStepUs);
  sprinkle(ActionKind::kSlowStep, 6, 100 * kStepUs);
  sprinkle(ActionKind::kForwardFails, 6, 0);
  sprinkle(ActionKind::kCopyFails, 6, 0);
  sprinkle(ActionKind::kLogitsNan, 6, 15);
  sprinkle(ActionKind::kImageFails, 6, 2);
  sprinkle(ActionKind::kGatherFails, 4, 0);
  // Stably, so that a stall stays before its resume.
  std::stable_sort(scenario->actions.begin(), scenario->actions.end(),
                   [](const Action& a, const Action& b) { return a.at < b.at; });
}

}  // namespace

Scenario DrawScenario(uint64_t seed) {
  Scenario scenario{.config = DrawConfig(seed)};
  Choices durations(seed, Component::kDurations);
  for (int64_t i = durations.Between(1, 8); i > 0; --i) {
    scenario.durations.push_back(durations.Logarithmic(kStepUs / 10, kStepUs * 5));
  }
  scenario.tenants = DrawTenants(seed);
  DrawRequests(seed, &scenario);
  DrawActions(seed, &scenario);
  return scenario;
}

}  // namespace prefixd::simulation
