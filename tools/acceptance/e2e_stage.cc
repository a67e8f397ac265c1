// Stage e2e: what a client of the engine sees. With random weights the answers are noise, the times
// are not.
#include <cuda_runtime.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "tools/acceptance/device_timer.h"
#include "tools/acceptance/play.h"
#include "tools/acceptance/stages.h"
#include "tools/acceptance/synthetic_decoder.h"
#include "tools/random_model.h"

namespace prefixd::acceptance {
namespace {

const RandomModelShape& Llava7BFiles() {
  static const auto* const kShape =
      new RandomModelShape{.name = "llava-7b-random",
                           .hidden_size = 4096,
                           .intermediate_size = 11008,
                           .num_layers = 32,
                           .num_heads = 32,
                           .num_kv_heads = 32,
                           .vocab_size = 32064,
                           .max_positions = 4096,
                           .vision = RandomVisionShape{.hidden_size = 1024,
                                                       .intermediate_size = 4096,
                                                       .num_layers = 24,
                                                       .num_heads = 16,
                                                       .image_size = 336,
                                                       .patch_size = 14}};
  return *kShape;
}

// 14 GB as fast as the disk takes them: parts of one block of random numbers.
absl::Status WriteLargeModel(const std::string& directory) {
  const std::string file = absl::StrCat(directory, "/model.safetensors");
  if (FileExists(file)) return absl::OkStatus();  // It is renamed when it is whole.
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  PREFIXD_RETURN_IF_ERROR(WriteRandomModelFiles(Llava7BFiles(), DType::kBF16, directory));
  const std::vector<uint16_t> block = RandomBf16(16 << 20, 21);
  return WriteSafetensors(
      file, RandomModelTensors(Llava7BFiles(), DType::kBF16),
      [&block](size_t index, uint64_t first, absl::Span<uint8_t> out) {
        size_t at = static_cast<size_t>((index * 7919 + first * 31) % (block.size() / 2));
        for (size_t done = 0; done < out.size(); at = 0) {
          const size_t count = std::min(out.size() - done, 2 * (block.size() - at));
          std::memcpy(out.data() + done, &block[at], count);
          done += count;
        }
      });
}

class EndToEnd {
 public:
  EndToEnd(const StageSettings& settings, StageReport* report)
      : settings_(settings), report_(report) {}

  absl::Status Run() {
    PREFIXD_RETURN_IF_ERROR(Open());
    Table table = {"Batches of prompts",
                   {"batch", "prompt", "new", "prompts", "first token ms", "tokens/s"},
                   {}};
    for (const int batch : toy() ? std::vector<int>{1, 2} : std::vector<int>{1, 8, 16, 48}) {
      PREFIXD_RETURN_IF_ERROR(Batch(batch, "new", Kind::kNew, &table));
      PREFIXD_RETURN_IF_ERROR(Batch(batch, "cached", Kind::kCached, &table));
    }
    const int many = toy() ? 2 : 16;
    PREFIXD_RETURN_IF_ERROR(
        Batch(many, "one prefix, shared pages (cascade)", Kind::kShared, &table));
    PREFIXD_RETURN_IF_ERROR(Batch(many, "one prefix, pages of their own", Kind::kCopies, &table));
    report_->tables.push_back(std::move(table));
    PREFIXD_RETURN_IF_ERROR(Images());
    NoteMemory();
    engine_.reset();
    return Graphs();
  }

 private:
  enum class Kind { kNew, kCached, kShared, kCopies };
  bool toy() const { return settings_.small.name == ToyModel().name; }

  absl::Status Open() {
    EngineOptions options = {.backend = "cuda", .max_batch_tokens = 2048};
    if (!settings_.weights.empty()) {
      options.model_path = settings_.weights;
    } else if (toy() || settings_.quick) {
      const char* const shape = toy() ? "tiny-llava" : "llava-135m";
      options.model_path = absl::StrCat(settings_.out, "/", shape);
      PREFIXD_RETURN_IF_ERROR(WriteRandomModel({.shape = shape}, options.model_path));
      if (toy()) options.kv_memory_bytes = 32 << 20, options.feature_cache_memory = 8 << 20;
    } else {
      options.model_path = absl::StrCat(settings_.out, "/llava-7b-random");
      PREFIXD_RETURN_IF_ERROR(WriteLargeModel(options.model_path));
    }
    if (toy()) options.max_batch_tokens = 128;
    PREFIXD_ASSIGN_OR_RETURN(engine_, OpenAndLoad(settings_.open_engine, options));
    report_->facts.emplace_back("model", options.model_path);
    return absl::OkStatus();
  }

  absl::Status Batch(int batch, const char* name, Kind kind, Table* table) {
    const int prompt = toy() ? 40 : 640, common = prompt - prompt / 10;
    const int generated = toy() ? 6 : settings_.quick ? 32 : 128;
    const int32_t vocabulary = engine_->model_info().vocab_size;
    if (kind == Kind::kNew) Flush(engine_.get());
    std::vector<Request> requests;
    for (int i = 0; i < batch; ++i) {
      const auto seed = static_cast<uint32_t>(1000 * batch + i);
      std::vector<int32_t> ids = TokensOf(seed, prompt, vocabulary);
      if (kind == Kind::kShared || kind == Kind::kCopies) {
        const std::vector<int32_t> same = TokensOf(1, common, vocabulary);
        std::copy(same.begin(), same.end(), ids.begin());
      }
      Request request = NewRequest(*engine_, absl::StrCat(++next_id_), std::move(ids), generated);
      request.bypass_prefix_cache = kind == Kind::kCopies;
      requests.push_back(std::move(request));
    }
    if (kind == Kind::kShared) {
      // The prefix is there when they come.
      PREFIXD_RETURN_IF_ERROR(PlayOne(engine_.get(), NewRequest(*engine_, absl::StrCat(++next_id_),
                                                                TokensOf(1, common, vocabulary), 1))
                                  .status());
    }
    PREFIXD_ASSIGN_OR_RETURN(const std::vector<Answer> answers,
                             Play(engine_.get(), std::move(requests)));
    std::vector<double> first;
    double last = 0;
    for (const Answer& answer : answers) {
      PREFIXD_RETURN_IF_ERROR(answer.status);
      first.push_back(answer.first_token_seconds);
      last = std::max(last, answer.seconds);
    }
    table->rows.push_back({absl::StrCat(batch), absl::StrCat(prompt), absl::StrCat(generated), name,
                           absl::StrFormat("%.1f", 1e3 * Median(std::move(first))),
                           absl::StrFormat("%.0f", batch * generated / std::max(last, 1e-9))});
    return absl::OkStatus();
  }

  absl::Status Images() {
    if (!engine_->model_info().supports_images) return absl::OkStatus();
    const int count = toy() ? 2 : 30;
    std::vector<Request> requests;
    for (int i = 0; i < count; ++i) {
      PREFIXD_ASSIGN_OR_RETURN(const std::string picture,
                               ReadFile(absl::StrFormat("%s/models/demo/pictures/picture-%02d.png",
                                                        settings_.source, 1 + i % 7),
                                        1 << 24));
      Request request = NewRequest(*engine_, absl::StrCat(++next_id_),
                                   TokensOf(static_cast<uint32_t>(i), 8, 256), 1, picture);
      request.bypass_prefix_cache = true;
      requests.push_back(std::move(request));
    }
    PREFIXD_ASSIGN_OR_RETURN(const std::vector<Answer> answers,
                             Play(engine_.get(), std::move(requests)));
    double last = 0;
    for (const Answer& answer : answers) {
      PREFIXD_RETURN_IF_ERROR(answer.status);
      last = std::max(last, answer.seconds);
    }
    report_->facts.emplace_back("prompts with a picture: decoding, tower, prefill, one token",
                                absl::StrFormat("%.1f a second", count / std::max(last, 1e-9)));
    return absl::OkStatus();
  }

  void NoteMemory() {
    const std::shared_ptr<const EngineStats> stats = engine_->Stats();
    size_t free_bytes = 0, total_bytes = 0;
    cudaMemGetInfo(&free_bytes, &total_bytes);
    constexpr double kGib = 1 << 30;
    const double weights = static_cast<double>(engine_->model_info().weight_bytes) / kGib;
    const double pages =
        static_cast<double>(stats->total_pages) * static_cast<double>(stats->page_bytes) / kGib;
    report_->facts.emplace_back(
        "the card's memory",
        absl::StrFormat("%.2f GiB in use; predicted: weights %.2f GiB, %d pages %.2f GiB",
                        static_cast<double>(total_bytes - free_bytes) / kGib, weights,
                        stats->total_pages, pages));
  }

  // Steps of a decoder of the real size, played from recordings and not.
  absl::Status Graphs() {
    Table table = {absl::StrCat("A step of decodes at the shapes of ", settings_.small.name),
                   {"batch", "slots", "graphs", "ms"},
                   {}};
    const int slots = toy() ? 40 : 640;
    for (const bool graphs : {true, false}) {
      PREFIXD_ASSIGN_OR_RETURN(std::unique_ptr<Backend> backend,
                               settings_.open_backend({.graphs = graphs}));
      PREFIXD_ASSIGN_OR_RETURN(std::unique_ptr<SyntheticDecoder> decoder,
                               SyntheticDecoder::Create(settings_.small, slots, backend.get()));
      for (const int batch : toy() ? std::vector<int>{1} : std::vector<int>{1, 16}) {
        if (decoder->num_pages() == 0) {
          const int64_t pages = PagesNeeded(settings_.small, toy() ? 1 : 16, slots, 1.0);
          PREFIXD_RETURN_IF_ERROR(decoder->CreatePool(static_cast<int32_t>(pages)));
        }
        PREFIXD_RETURN_IF_ERROR(decoder->Place(batch, slots, 0));
        PREFIXD_RETURN_IF_ERROR(decoder->FillSlots());
        PREFIXD_ASSIGN_OR_RETURN(const double seconds,
                                 decoder->DecodeSeconds(slots, settings_.quick ? 10 : 30));
        table.rows.push_back({absl::StrCat(batch), absl::StrCat(slots), graphs ? "on" : "off",
                              absl::StrFormat("%.3f", 1e3 * seconds)});
      }
    }
    report_->tables.push_back(std::move(table));
    return absl::OkStatus();
  }

  const StageSettings& settings_;
  StageReport* const report_;
  std::unique_ptr<Engine> engine_;
  uint64_t next_id_ = 0;
};

}  // namespace

StageReport RunE2e(const StageSettings& settings) {
  StageReport report;
  EndToEnd stage(settings, &report);
  report.FailUnless(stage.Run());
  return report;
}

}  // namespace prefixd::acceptance
