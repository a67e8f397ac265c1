#include "engine/models/plain_family.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/models/generation_config.h"
#include "engine/weights/checkpoint.h"

namespace prefixd {
namespace {

class PlainModel final : public Model {
 public:
  PlainModel(ModelSpec spec, std::unique_ptr<PlainTextDecoder> decoder)
      : spec_(std::move(spec)), decoder_(std::move(decoder)) {}

  const ModelSpec& spec() const override { return spec_; }

  absl::Status Forward(const Batch& batch, const KvView& kv, const Tensor& logits) override {
    return decoder_->Forward(batch, kv, logits);
  }

  absl::Status TokenLogprobs(const Tensor& states, absl::Span<const int32_t> rows,
                             absl::Span<const int32_t> ids, absl::Span<float> y) override {
    return decoder_->TokenLogprobs(states, rows, ids, y);
  }

  absl::StatusOr<std::unique_ptr<ImageEncoding>> StartImage(absl::Span<const float>) override {
    return absl::UnimplementedError(absl::StrCat("a ", spec_.family, " model takes no images"));
  }

 private:
  const ModelSpec spec_;
  const std::unique_ptr<PlainTextDecoder> decoder_;
};

class PlainFiles final : public ModelFiles {
 public:
  PlainFiles(const PlainTextConfig& config, Checkpoint checkpoint)
      : config_(config), checkpoint_(std::move(checkpoint)) {}

  absl::Status Check(const std::string& directory, const ConfigReader& config,
                     const PlainFamily& family) {
    PREFIXD_ASSIGN_OR_RETURN(
        spec_.generation,
        ReadGenerationDefaults(directory, {config}, config_.vocab_size, config_.default_eos));
    PREFIXD_ASSIGN_OR_RETURN(WeightNames names, WeightNames::Create(checkpoint_, family.canonical));
    PREFIXD_ASSIGN_OR_RETURN(tensors_, family.find(&names));
    names.WarnOfUnused(family.is_known_unused);
    spec_.family = std::string(family.name);
    spec_.num_parameters = names.used_elements();
    spec_.weight_bytes = names.used_bytes();
    FillTextSpec(config_, tensors_, &spec_);
    return absl::OkStatus();
  }

  const ModelSpec& spec() const override { return spec_; }

  absl::StatusOr<std::unique_ptr<Model>> Load(Backend* backend, const ModelLimits& limits,
                                              const LoadProgress& progress) override {
    WeightReader reader(checkpoint_, backend, progress, spec_.weight_bytes);
    PREFIXD_ASSIGN_OR_RETURN(auto decoder,
                             PlainTextDecoder::Load(config_, tensors_, limits, &reader));
    PREFIXD_RETURN_IF_ERROR(checkpoint_.CheckUnchanged());
    return std::make_unique<PlainModel>(spec_, std::move(decoder));
  }

 private:
  const PlainTextConfig config_;
  const Checkpoint checkpoint_;
  PlainTextTensors tensors_;
  ModelSpec spec_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ModelFiles>> OpenPlainFamily(const std::string& directory,
                                                            const ConfigReader& config,
                                                            const PlainTextConfig& text,
                                                            const PlainFamily& family) {
  PREFIXD_RETURN_IF_ERROR(config.status());
  PREFIXD_ASSIGN_OR_RETURN(Checkpoint checkpoint, Checkpoint::Open(directory));
  auto files = std::make_unique<PlainFiles>(text, std::move(checkpoint));
  PREFIXD_RETURN_IF_ERROR(files->Check(directory, config, family));
  return files;
}

}  // namespace prefixd
