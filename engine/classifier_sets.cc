// EngineClassifier: class sets, their pictures, and the pinned prefixes of their demonstrations.
#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "engine/class_contexts.h"
#include "engine/classifier.h"
#include "engine/classify/check_class_set.h"
#include "engine/context_sink.h"
#include "engine/error_reasons.h"
#include "engine/threaded_engine.h"

namespace prefixd {
namespace {

// Pinned prefixes of sets that nobody uses are let go after so long.
constexpr absl::Duration kPinLifetime = absl::Hours(24);

}  // namespace

// --- Calls ---------------------------------------------------------------------------------------

void EngineClassifier::CreateClassSet(ClassSetSpec spec,
                                      std::function<void(absl::StatusOr<ClassSetInfo>)> done) {
  const auto check = [&]() -> absl::Status {
    PREFIXD_RETURN_IF_ERROR(host_.admit());
    PREFIXD_RETURN_IF_ERROR(CheckClassSetSpec(spec, host_.options));
    return sets_->Reserve(spec.tenant, spec.id);
  };
  if (absl::Status status = check(); !status.ok()) return done(std::move(status));
  auto stored = std::make_shared<StoredClassSet>();
  stored->spec = std::move(spec);
  stored->created = absl::Now();
  const auto fail = [this, stored, done](absl::Status status) {
    sets_->Abandon(stored->spec.tenant, stored->spec.id);
    done(std::move(status));
  };
  host_.prepare([this, stored, done, fail](bool run) {
    if (!run) return fail(ShuttingDown());
    const ClassSetSpec& wanted = stored->spec;
    const absl::StatusOr<std::shared_ptr<const Candidates>> names =
        CandidatesFor("names", wanted.names,
                      {.prefix = wanted.label_prefix, .max_tokens = host_.options.max_name_tokens});
    if (!names.ok()) return fail(names.status());
    if (wanted.num_shots == 0) return CommitSet(std::move(*stored), done);
    std::vector<ImagePart> images;
    for (const Demonstration& demonstration : wanted.demonstrations) {
      images.push_back(*demonstration.image);
    }
    Embed(wanted.tenant, absl::StrCat("class set ", wanted.id), std::move(images),
          absl::InfiniteFuture(), std::make_shared<Live>(),
          [this, stored, done, fail](absl::StatusOr<Embeddings> embeddings) {
            if (!embeddings.ok()) return fail(embeddings.status());
            stored->embeddings = *std::move(embeddings);
            stored->embedding_model = host_.engine->model_info().digest;
            host_.prepare([this, stored, done, fail](bool goes_on) {
              if (!goes_on) return fail(ShuttingDown());
              CommitSet(std::move(*stored), done);
            });
          });
  });
}

void EngineClassifier::CommitSet(StoredClassSet set,
                                 std::function<void(absl::StatusOr<ClassSetInfo>)> done) {
  const absl::StatusOr<SetEntry> entry = sets_->Commit(std::move(set));
  if (!entry.ok()) return done(entry.status());
  Pin(*entry, [this, entry = *entry, done] { done(InfoOf(*entry, /*with_names=*/false)); });
}

absl::StatusOr<ClassSetInfo> EngineClassifier::GetClassSet(absl::string_view tenant,
                                                           absl::string_view name) {
  PREFIXD_ASSIGN_OR_RETURN(const SetEntry entry, sets_->Find(tenant, name));
  return InfoOf(*entry, /*with_names=*/true);
}

std::vector<ClassSetInfo> EngineClassifier::ListClassSets(absl::string_view tenant) {
  std::vector<ClassSetInfo> infos;
  for (const SetEntry& entry : sets_->List(tenant)) infos.push_back(InfoOf(*entry, false));
  return infos;
}

absl::Status EngineClassifier::DeleteClassSet(absl::string_view tenant, absl::string_view name) {
  PREFIXD_ASSIGN_OR_RETURN(const SetEntry entry, sets_->Find(tenant, name));
  PREFIXD_RETURN_IF_ERROR(sets_->Delete(tenant, name));
  ForgetIfDeleted(entry);
  return absl::OkStatus();
}

// Calls that are still at work with a deleted set may have pinned its demonstrations again.
void EngineClassifier::ForgetIfDeleted(const SetEntry& entry) {
  const std::string& tenant = entry->stored.spec.tenant;
  const absl::StatusOr<SetEntry> found = sets_->Find(tenant, entry->name());
  if (found.ok() && (*found)->serial == entry->serial) return;
  std::string prefix;
  {
    MutexLock lock(&mutex_);
    const auto state = states_.find(entry->serial);
    if (state == states_.end() || state->second.pin == SetState::Pin::kAsked) return;
    prefix = state->second.prefix;
    states_.erase(state);
  }
  if (!prefix.empty()) (void)host_.engine->ReleasePrefix(tenant, prefix);
}

ClassSetInfo EngineClassifier::InfoOf(const ClassSetEntry& entry, bool with_names) {
  const ClassSetSpec& spec = entry.stored.spec;
  ClassSetInfo info{.name = entry.name(),
                    .num_names = static_cast<int32_t>(spec.names.size()),
                    .num_demonstrations = static_cast<int32_t>(spec.demonstrations.size()),
                    .num_shots = spec.num_shots,
                    .stored_bytes = entry.stored_bytes,
                    .label_prefix = spec.label_prefix,
                    .prompt = spec.prompt,
                    .created = entry.stored.created,
                    .requests = entry.requests.load()};
  const absl::StatusOr<std::shared_ptr<const Candidates>> names =
      CandidatesFor("names", spec.names,
                    {.prefix = spec.label_prefix, .max_tokens = host_.options.max_name_tokens});
  if (names.ok()) {  // A set of another model's days may have names that this one cannot take.
    info.num_tokens = (*names)->trie->num_tokens();
    info.internal_nodes = (*names)->trie->num_internal();
  }
  if (with_names) info.names = spec.names;
  return info;
}

// --- Pictures ------------------------------------------------------------------------------------

void EngineClassifier::Embed(const std::string& tenant, const std::string& id,
                             std::vector<ImagePart> images, absl::Time deadline,
                             std::shared_ptr<Live> live,
                             std::function<void(absl::StatusOr<Embeddings>)> done) {
  // As many at a time as a request may have; the rest follows when they are done.
  struct Job {
    std::vector<ImagePart> images;
    Embeddings embeddings;
  };
  auto job = std::make_shared<Job>(Job{.images = std::move(images), .embeddings = {}});
  auto next = std::make_shared<std::function<void()>>();
  const size_t most = static_cast<size_t>(std::max(1, host_.engine->model_info().max_images));
  const auto finish = [next, done](absl::StatusOr<Embeddings> result) {
    done(std::move(result));
    *next = nullptr;  // It holds itself.
  };
  *next = [this, tenant, id, deadline, live, job, next = std::weak_ptr(next), finish, most] {
    const size_t begin = job->embeddings.size();
    if (begin == job->images.size()) return finish(std::move(job->embeddings));
    PromptInput input;
    for (size_t i = begin; i < std::min(begin + most, job->images.size()); ++i) {
      input.parts.push_back(std::move(job->images[i]));
    }
    Request request{.id = absl::StrCat(id, " images ", begin),
                    .tenant = tenant,
                    .input = std::move(input),
                    .deadline = deadline};
    request.retention.scope = RetentionScope::kOff;
    request.embed_images = true;
    auto sink = std::make_shared<ContextSink>(
        [this, job, step = next.lock(), finish](absl::StatusOr<ContextResult> result) {
          if (!result.ok()) return finish(result.status());
          for (std::vector<float>& image : result->embedded.images) {
            job->embeddings.push_back(std::move(image));
          }
          host_.prepare([step, finish](bool run) {
            if (!run) return finish(ShuttingDown());
            const std::function<void()> go_on = *step;
            go_on();
          });
        });
    if (absl::Status status = Submit(std::move(request), std::move(sink), live.get());
        !status.ok()) {
      finish(std::move(status));
    }
  };
  const std::function<void()> begin = *next;
  begin();
}

void EngineClassifier::EmbeddingsOf(
    const SetEntry& entry, const std::string& id, absl::Time deadline, std::shared_ptr<Live> live,
    std::function<void(absl::StatusOr<std::shared_ptr<const Embeddings>>)> done) {
  std::shared_ptr<const Embeddings> known;
  {
    MutexLock lock(&mutex_);
    known = states_[entry->serial].embeddings;
  }
  const StoredClassSet& stored = entry->stored;
  if (known == nullptr && stored.embedding_model == host_.engine->model_info().digest) {
    // Of the entry, which lives on with it.
    known = std::shared_ptr<const Embeddings>(entry, &stored.embeddings);
  }
  if (known != nullptr) return done(std::move(known));
  std::vector<ImagePart> images;
  for (const Demonstration& demonstration : stored.spec.demonstrations) {
    images.push_back(*demonstration.image);
  }
  Embed(stored.spec.tenant, absl::StrCat(id, " demonstrations"), std::move(images), deadline,
        std::move(live), [this, entry, done](absl::StatusOr<Embeddings> made) {
          if (!made.ok()) return done(made.status());
          auto embeddings = std::make_shared<const Embeddings>(*std::move(made));
          {
            MutexLock lock(&mutex_);
            states_[entry->serial].embeddings = embeddings;
          }
          done(std::move(embeddings));
        });
}

// --- Pinned demonstrations -----------------------------------------------------------------------

std::string EngineClassifier::PinnedPrefix(const SetEntry& entry) {
  std::string prefix;
  {
    MutexLock lock(&mutex_);
    const SetState& state = states_[entry->serial];
    if (state.pin == SetState::Pin::kAsked) return "";
    prefix = state.prefix;
  }
  const std::string& tenant = entry->stored.spec.tenant;
  // It may have been released by hand, or have lived its time.
  if (!prefix.empty() && host_.engine->TouchPrefix(tenant, prefix, std::nullopt).ok()) {
    return prefix;
  }
  Pin(entry, [] {});
  return "";
}

void EngineClassifier::Pin(const SetEntry& entry, std::function<void()> done) {
  const ClassSetSpec& spec = entry->stored.spec;
  const bool chat = uses_chat(spec.prompt);
  std::vector<int32_t> shots(spec.num_shots == 0 ? spec.demonstrations.size() : 0);
  std::iota(shots.begin(), shots.end(), 0);
  Input input = ShotsInput(spec.prompt, spec.demonstrations, shots, chat);
  if (shots.empty() || !host_.prefix_cache || !host_.pins_prefixes) return done();
  {
    MutexLock lock(&mutex_);
    SetState& state = states_[entry->serial];
    if (state.pin == SetState::Pin::kAsked) return done();
    state = {.pin = SetState::Pin::kAsked, .prefix = "", .embeddings = state.embeddings};
  }
  host_.engine->CreatePrefix(
      {.tenant = spec.tenant, .id = "", .input = std::move(input), .ttl = kPinLifetime},
      [this, entry, done](const absl::StatusOr<PrefixInfo>& prefix) {
        if (!prefix.ok()) {
          PREFIXD_LOG(kWarn, "class set ", entry->name(),
                      ": its demonstrations are not pinned: ", prefix.status().message());
        }
        {
          MutexLock lock(&mutex_);
          SetState& state = states_[entry->serial];
          state.pin = prefix.ok() ? SetState::Pin::kThere : SetState::Pin::kNone;
          state.prefix = prefix.ok() ? prefix->name : "";
        }
        ForgetIfDeleted(entry);
        done();
      });
}

}  // namespace prefixd
