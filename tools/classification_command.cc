#include <cstdio>
#include <filesystem>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "tools/classification_data.h"
#include "tools/classification_evaluation.h"
#include "tools/classification_report.h"
#include "tools/commands.h"
#include "tools/progress.h"

namespace prefixd::tools {
namespace {

constexpr char kSetId[] = "evaluation";
constexpr size_t kMaxImageBytes = 16 << 20;
constexpr int32_t kTop = 5;

// The demonstrations of the set: all of the file, or the shots drawn once.
absl::StatusOr<std::vector<Demonstration>> LoadDemonstrations(
    const ClassificationEvaluationOptions& options, absl::Span<const std::string> names) {
  std::vector<Demonstration> demonstrations;
  if (options.demonstrations.empty()) return demonstrations;
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<LabelledPicture> pictures,
                           LoadLabelledLines(options.demonstrations, options.images, names));
  std::vector<size_t> taken;
  if (options.shots > 0 && !options.rices) {
    if (pictures.size() < static_cast<size_t>(options.shots)) {
      return absl::InvalidArgumentError(absl::StrCat(options.demonstrations, ": ", pictures.size(),
                                                     " demonstrations, --shots ", options.shots));
    }
    taken = Draw(pictures.size(), static_cast<size_t>(options.shots), options.seed);
  } else {
    for (size_t i = 0; i < pictures.size(); ++i) taken.push_back(i);
  }
  for (const size_t i : taken) {
    const LabelledPicture& picture = pictures[i];
    Demonstration demonstration{.text = picture.text, .label = picture.label};
    if (!picture.image.empty()) {
      PREFIXD_ASSIGN_OR_RETURN(std::string bytes, ReadFile(picture.image, kMaxImageBytes));
      demonstration.image = ImagePart{.bytes = std::move(bytes)};
    }
    demonstrations.push_back(std::move(demonstration));
  }
  return demonstrations;
}

std::string DigestOf(const std::vector<Demonstration>& demonstrations) {
  Sha256 hash;
  for (const Demonstration& demonstration : demonstrations) {
    const std::string bytes = demonstration.image.has_value() ? demonstration.image->bytes : "";
    for (const std::string* text : {&bytes, &demonstration.text, &demonstration.label}) {
      hash.Update(uint64_t{text->size()}).Update(*text);
    }
  }
  return ToHex(hash.Finish());
}

// What results depend on: not on how many of the pictures are taken, nor on how many at once.
ClassificationSettings SettingsOf(const Options& options, const Engine& engine,
                                  const ClassificationData& data, const ClassSetSpec& spec) {
  const EngineModelInfo& model = engine.model_info();
  const EngineRuntimeInfo& runtime = engine.runtime_info();
  const ClassificationEvaluationOptions& own = options.classification;
  const auto flag = [](bool value) { return value ? "yes" : "no"; };
  return {{"model", model.name},
          {"model_digest", model.digest},
          {"weights_dtype", model.weights_dtype},
          {"weight_bytes", absl::StrCat(model.weight_bytes)},
          {"chat_template", model.chat_template},
          {"backend", runtime.backend},
          {"kv_dtype", runtime.kv_dtype},
          {"data_digest", data.digest},
          {"pictures", absl::StrCat(data.samples.size())},
          {"names", absl::StrCat(data.names.size())},
          {"question", own.prompt.question},
          {"system", own.prompt.system},
          {"no_chat_template", flag(own.prompt.plain)},
          {"separator", own.prompt.separator},
          {"label_prefix", own.label_prefix},
          {"demonstrations", absl::StrCat(spec.demonstrations.size())},
          {"demonstrations_digest", DigestOf(spec.demonstrations)},
          {"shots", absl::StrCat(own.shots)},
          {"rices", flag(own.rices)},
          {"ensemble", absl::StrCat(own.ensemble)},
          {"normalization", NameOf(own.normalization)},
          {"null_text", own.null_text},
          {"score_end", flag(own.score_end)},
          {"mode", NameOf(own.mode)},
          {"prefix_cache", flag(options.prefix_cache)},
          {"seed", absl::StrCat(own.seed)}};
}

ClassifyRequest RequestOf(const Options& options, const ClassificationData& data,
                          const std::string& class_set) {
  const ClassificationEvaluationOptions& own = options.classification;
  ClassifyRequest request;
  request.class_set = class_set;
  request.normalization = own.normalization;
  request.score_end = own.score_end;
  request.top_k = static_cast<int32_t>(std::min<size_t>(data.names.size(), kTop));
  request.all_scores = true;
  request.ensemble = own.ensemble;
  request.seed = own.seed;
  request.mode = own.mode;
  request.bypass_prefix_cache = !options.prefix_cache;
  return request;
}

}  // namespace

absl::Status RunEvaluateClassification(const Options& options) {
  const ClassificationEvaluationOptions& own = options.classification;
  PREFIXD_ASSIGN_OR_RETURN(const ClassificationData data,
                           LoadClassificationData({.path = own.data,
                                                   .images = own.images,
                                                   .names = own.names,
                                                   .usual_names = own.usual_names()}));
  ClassSetSpec spec{.id = kSetId,
                    .names = data.names,
                    .label_prefix = own.label_prefix,
                    .prompt = own.prompt,
                    .num_shots = own.rices ? own.shots : 0,
                    .null_text = own.null_text};
  PREFIXD_ASSIGN_OR_RETURN(spec.demonstrations, LoadDemonstrations(own, data.names));
  std::error_code error;
  std::filesystem::create_directories(options.out, error);
  if (error) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.out, ": cannot make the directory: ", error.message()));
  }
  MonotonicClock clock;
  PREFIXD_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine,
                           Engine::Open(options.engine, &clock));
  Classifier* const classifier = engine->classifier();
  if (classifier == nullptr) return absl::UnimplementedError("this engine does not rank names");
  ClassificationReport report{.command = options.command_line,
                              .settings = SettingsOf(options, *engine, data, spec),
                              .names = data.names};
  PREFIXD_ASSIGN_OR_RETURN(ClassificationResults results,
                           ClassificationResults::Open(options.out, report.settings, data.labels,
                                                       data.names.size(), own.restart));
  if (!results.records().empty()) {
    std::fprintf(stderr, "evaluate: goes on from %zu pictures in %s\n", results.records().size(),
                 results.path().c_str());
  }
  PREFIXD_RETURN_IF_ERROR(LoadWeights(engine.get(), &clock));
  PREFIXD_ASSIGN_OR_RETURN(const ClassSetInfo info, MakeClassSet(classifier, std::move(spec)));
  const std::vector<size_t> order =
      Draw(data.samples.size(), own.limit > 0 ? own.limit : data.samples.size(), own.seed);
  {
    Progress progress = StderrProgress("evaluate", &clock);
    PREFIXD_RETURN_IF_ERROR(
        RankAll(data, order, RequestOf(options, data, info.name), options.in_flight, classifier,
                &results, [&](size_t done, size_t total) { progress.Update(done, total); }));
  }
  report.summary = Summarise(data, order, results);
  std::printf("%s\n", results.path().c_str());
  PREFIXD_RETURN_IF_ERROR(WriteOutput(options, "report.json", ClassificationJson(report)));
  return WriteOutput(options, "report.md", ClassificationMarkdown(report));
}

}  // namespace prefixd::tools
