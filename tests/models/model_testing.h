// What the tests of models share: goldens, backends, and a model with its own pages.
#ifndef PREFIXD_TESTS_MODELS_MODEL_TESTING_H_
#define PREFIXD_TESTS_MODELS_MODEL_TESTING_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/backend/registry.h"
#include "engine/models/model_loader.h"

namespace prefixd::testing {

std::string GoldenDirectory();  // tests/golden/models.
std::string DemoDirectory();    // models/demo.

// The tensors of a safetensors file of floats and 32-bit integers. A failure ends the test.
class Golden {
 public:
  explicit Golden(const std::string& path);
  std::vector<float> Floats(const std::string& name) const;
  std::vector<int32_t> Ints(const std::string& name) const;
  bool Has(const std::string& name) const;

 private:
  std::string Bytes(const std::string& name, const std::string& dtype) const;

  struct Entry {
    std::string name, dtype, bytes;
  };
  std::vector<Entry> entries_;
};

// "ref", "portable", "avx2", ...: every backend and level that this machine runs.
std::vector<std::string> BackendNames();
std::unique_ptr<Backend> MakeBackend(const std::string& name, int num_threads = 2);
// The bar of DESIGN for a backend: 1e-4 for ref, 1e-3 for the CPU levels.
float LogitTolerance(const std::string& backend);

float LargestGap(absl::Span<const float> a, absl::Span<const float> b);

// Copies a directory of small files into a fresh one that is removed with the object.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  explicit TemporaryDirectory(const std::string& copy_of);
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::string& path() const { return path_; }
  void Write(const std::string& name, const std::string& bytes) const;
  std::string Read(const std::string& name) const;

 private:
  std::string path_;
};

// One sequence of tokens on its way through a model; its pages are scattered over the pool.
struct TestSequence {
  std::vector<int32_t> ids;
  std::vector<Tensor> features;      // Of the images, in order.
  std::vector<int32_t> image_begin;  // Where their rows begin.
  int32_t image_rows = 0;
  // Images seen through cross-attention: rows from the i-th placeholder on see media[i].
  std::vector<Tensor> media;
  int32_t visible_prefix = 0;  // Of KvSegment: the rows of a prefix-LM's prompt.
  std::vector<int32_t> pages;  // Per layer `pages_per_layer`, layer by layer.
  int32_t computed = 0;
};

class LoadedModel {
 public:
  // Pages that a sequence has in every layer.
  static constexpr int32_t kPagesPerLayer = 20;
  // The rows of one step at most.
  static constexpr int kMaxRows = 320;

  LoadedModel(const std::string& directory, const std::string& backend, int num_threads = 2,
              int32_t pages_per_layer = kPagesPerLayer);
  LoadedModel(const std::string& directory, std::unique_ptr<Backend> backend,
              int32_t pages_per_layer = kPagesPerLayer,
              std::optional<DType> kv_dtype = std::nullopt);

  Model& model() { return *model_; }
  const ModelSpec& spec() const { return model_->spec(); }
  Backend& backend() { return *backend_; }
  KvPool* pool() { return pool_.get(); }
  absl::Span<const int32_t> LayerPages(const TestSequence& sequence, int layer) const {
    return absl::MakeConstSpan(sequence.pages).subspan(layer * pages_per_layer_, pages_per_layer_);
  }

  // The placeholder run in `ids`, if any, takes `features`. Only the last six sequences are alive.
  TestSequence NewSequence(absl::Span<const int32_t> ids, const Tensor* features = nullptr);
  // As many images as placeholder runs in `ids`.
  TestSequence NewImageSequence(absl::Span<const int32_t> ids, absl::Span<const Tensor> features);
  // Of a model whose images are cross-attended: as many as placeholders in `ids`.
  TestSequence NewMediaSequence(absl::Span<const int32_t> ids, absl::Span<const Tensor> media);
  OwnedTensor Encode(absl::Span<const float> pixels);

  // Computes `num_rows[i]` further rows of every sequence in one step and returns the logits of all
  // of them, row by row, in batch order. `states`: where their final states go, if anywhere.
  std::vector<float> Step(absl::Span<TestSequence* const> sequences,
                          absl::Span<const int32_t> num_rows, const Tensor* states = nullptr);
  // All rows in one step.
  std::vector<float> Run(TestSequence* sequence);

 private:
  // The media of rows [first, end) of a sequence, whose row `first` is the batch's `row_begin`.
  void AddMedia(const TestSequence& sequence, int32_t end, int32_t row_begin,
                std::vector<MediaRows>* rows) const;

  static constexpr int32_t kMaxSequences = 6;

  const int32_t pages_per_layer_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<KvPool> pool_;
  OwnedTensor logits_;
  int32_t num_sequences_ = 0;
};

// The pixels that the script of the goldens fills in for the tiny models.
std::vector<float> TinyPixels(int image_size);

}  // namespace prefixd::testing

#endif  // PREFIXD_TESTS_MODELS_MODEL_TESTING_H_
