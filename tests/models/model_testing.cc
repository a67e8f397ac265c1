#include "tests/models/model_testing.h"

#include <stdlib.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <numeric>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/file.h"
#include "engine/weights/safetensors.h"

namespace prefixd::testing {

namespace {

template <typename T>
T ValueOrDie(absl::StatusOr<T> value) {
  if (!value.ok()) fprintf(stderr, "%s\n", value.status().ToString().c_str());
  PREFIXD_CHECK(value.ok());
  return *std::move(value);
}

void CheckOk(const absl::Status& status) {
  if (!status.ok()) fprintf(stderr, "%s\n", status.ToString().c_str());
  PREFIXD_CHECK(status.ok());
}

}  // namespace

std::string GoldenDirectory() { return PREFIXD_SOURCE_DIR "/tests/golden/models"; }
std::string DemoDirectory() { return PREFIXD_SOURCE_DIR "/models/demo"; }

Golden::Golden(const std::string& path) {
  const File file = ValueOrDie(File::Open(path));
  for (const TensorInfo& tensor : ValueOrDie(ReadSafetensorsHeader(file))) {
    Entry entry{.name = tensor.name, .dtype = tensor.dtype};
    entry.bytes.resize(tensor.size_bytes);
    CheckOk(file.ReadAt(tensor.begin, absl::MakeSpan(reinterpret_cast<uint8_t*>(entry.bytes.data()),
                                                     entry.bytes.size())));
    entries_.push_back(std::move(entry));
  }
}

bool Golden::Has(const std::string& name) const {
  return std::any_of(entries_.begin(), entries_.end(),
                     [&name](const Entry& entry) { return entry.name == name; });
}

std::string Golden::Bytes(const std::string& name, const std::string& dtype) const {
  for (const Entry& entry : entries_) {
    if (entry.name == name && entry.dtype == dtype) return entry.bytes;
  }
  fprintf(stderr, "no golden %s %s\n", name.c_str(), dtype.c_str());
  PREFIXD_CHECK(false);
  return "";
}

std::vector<float> Golden::Floats(const std::string& name) const {
  const std::string bytes = Bytes(name, "F32");
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

std::vector<int32_t> Golden::Ints(const std::string& name) const {
  const std::string bytes = Bytes(name, "I32");
  std::vector<int32_t> values(bytes.size() / sizeof(int32_t));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

std::vector<std::string> BackendNames() {
  std::vector<std::string> names = SupportedCpuLevels();
  names.insert(names.begin(), "ref");
  return names;
}

std::unique_ptr<Backend> MakeBackend(const std::string& name, int num_threads) {
  BackendOptions options{.name = "ref", .num_threads = num_threads};
  if (name != "ref") {
    options.name = "cpu";
    options.cpu_level = name;
  }
  return ValueOrDie(CreateBackend(options));
}

float LogitTolerance(const std::string& backend) { return backend == "ref" ? 1e-4f : 1e-3f; }

float LargestGap(absl::Span<const float> a, absl::Span<const float> b) {
  PREFIXD_CHECK(a.size() == b.size());
  float gap = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    // A NaN must count as the largest gap of all.
    const float here = std::abs(a[i] - b[i]);
    if (!(here <= gap)) gap = std::isnan(here) ? std::numeric_limits<float>::infinity() : here;
  }
  return gap;
}

TemporaryDirectory::TemporaryDirectory() {
  std::string path = (std::filesystem::temp_directory_path() / "prefixd_XXXXXX").string();
  PREFIXD_CHECK(::mkdtemp(path.data()) != nullptr);
  path_ = path;
}

TemporaryDirectory::TemporaryDirectory(const std::string& copy_of) : TemporaryDirectory() {
  std::filesystem::copy(copy_of, path_, std::filesystem::copy_options::recursive);
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code error;
  std::filesystem::remove_all(path_, error);
}

void TemporaryDirectory::Write(const std::string& name, const std::string& bytes) const {
  std::ofstream file(absl::StrCat(path_, "/", name), std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  PREFIXD_CHECK(file.good());
}

std::string TemporaryDirectory::Read(const std::string& name) const {
  return ValueOrDie(ReadFile(absl::StrCat(path_, "/", name), 64 << 20));
}

LoadedModel::LoadedModel(const std::string& directory, const std::string& backend, int num_threads,
                         int32_t pages_per_layer)
    : LoadedModel(directory, MakeBackend(backend, num_threads), pages_per_layer) {}

LoadedModel::LoadedModel(const std::string& directory, std::unique_ptr<Backend> backend,
                         int32_t pages_per_layer, std::optional<DType> kv_dtype)
    : pages_per_layer_(pages_per_layer), backend_(std::move(backend)) {
  auto files = ValueOrDie(OpenModelFiles(directory));
  const ModelLimits limits{.max_batch_rows = kMaxRows, .max_logit_rows = kMaxRows};
  model_ = ValueOrDie(files->Load(backend_.get(), limits, {}));
  pool_ = ValueOrDie(
      backend_->CreateKvPool({.num_pages = kMaxSequences * spec().num_layers * pages_per_layer_,
                              .num_kv_heads = spec().num_kv_heads,
                              .head_dim = spec().head_dim,
                              .dtype = kv_dtype.value_or(backend_->info().default_kv_dtype),
                              .keeps_positions = spec().keeps_positions}));
  logits_ = ValueOrDie(backend_->NewTensor(kMaxRows, spec().vocab_size));
}

TestSequence LoadedModel::NewSequence(absl::Span<const int32_t> ids, const Tensor* features) {
  if (features != nullptr) return NewImageSequence(ids, {*features});
  PREFIXD_CHECK(static_cast<int32_t>(ids.size()) <= pages_per_layer_ * kPageSlots);
  TestSequence sequence{.ids = {ids.begin(), ids.end()}};
  // Page i of a sequence lies at i * num_sequences + its index, from the end of the pool backwards.
  const int32_t num_pages = pool_->shape().num_pages;
  for (int32_t i = 0; i < spec().num_layers * pages_per_layer_; ++i) {
    sequence.pages.push_back(num_pages - 1 - (i * kMaxSequences + num_sequences_ % kMaxSequences));
  }
  ++num_sequences_;
  return sequence;
}

TestSequence LoadedModel::NewImageSequence(absl::Span<const int32_t> ids,
                                           absl::Span<const Tensor> features) {
  TestSequence sequence = NewSequence(ids);
  if (!features.empty()) sequence.image_rows = spec().image->tokens_per_image;
  auto from = ids.begin();
  for (const Tensor& image : features) {
    from = std::find(from, ids.end(), spec().image->token_id);
    sequence.features.push_back(image);
    sequence.image_begin.push_back(static_cast<int32_t>(from - ids.begin()));
    from = ids.end() - from > sequence.image_rows ? from + sequence.image_rows : ids.end();
  }
  return sequence;
}

TestSequence LoadedModel::NewMediaSequence(absl::Span<const int32_t> ids,
                                           absl::Span<const Tensor> media) {
  TestSequence sequence = NewSequence(ids);
  sequence.media.assign(media.begin(), media.end());
  return sequence;
}

void LoadedModel::AddMedia(const TestSequence& sequence, int32_t end, int32_t row_begin,
                           std::vector<MediaRows>* rows) const {
  size_t seen = 0;
  for (int32_t i = 0; i < end; ++i) {
    const bool is_image = sequence.ids[i] == spec().image->token_id;
    if (is_image) ++seen;
    if (i < sequence.computed || seen == 0) continue;
    if (is_image || i == sequence.computed) {
      rows->push_back({.row_begin = row_begin + i - sequence.computed,
                       .count = 0,
                       .features = sequence.media.at(seen - 1)});
    }
    ++rows->back().count;
  }
}

OwnedTensor LoadedModel::Encode(absl::Span<const float> pixels) {
  auto encoding = ValueOrDie(model_->StartImage(pixels));
  while (encoding->steps_left() > 0) CheckOk(encoding->Step());
  return encoding->TakeFeatures();
}

std::vector<float> LoadedModel::Step(absl::Span<TestSequence* const> sequences,
                                     absl::Span<const int32_t> num_rows, const Tensor* states) {
  std::vector<int32_t> ids, positions;
  std::vector<FeatureRows> features;
  std::vector<MediaRows> media;
  std::vector<std::vector<int32_t>> slots(sequences.size());
  for (size_t s = 0; s < sequences.size(); ++s) {
    const TestSequence& sequence = *sequences[s];
    const int32_t row_begin = static_cast<int32_t>(ids.size());
    const int32_t end = sequence.computed + num_rows[s];
    for (int32_t i = sequence.computed; i < end; ++i) {
      ids.push_back(sequence.ids[i]);
      positions.push_back(i);
      slots[s].push_back(i);
    }
    if (!sequence.media.empty()) AddMedia(sequence, end, row_begin, &media);
    for (size_t i = 0; i < sequence.features.size(); ++i) {
      const int32_t begin = sequence.image_begin[i];
      const int32_t from = std::max(sequence.computed, begin);
      const int32_t to = std::min(end, begin + sequence.image_rows);
      if (from >= to) continue;
      features.push_back({.row_begin = row_begin + from - sequence.computed,
                          .count = to - from,
                          .features = sequence.features[i],
                          .feature_begin = from - begin});
    }
  }
  std::vector<std::vector<KvSegment>> segments(spec().num_layers);
  std::vector<absl::Span<const KvSegment>> layers;
  for (int layer = 0; layer < spec().num_layers; ++layer) {
    int32_t row = 0;
    for (size_t s = 0; s < sequences.size(); ++s) {
      segments[layer].push_back({.row_begin = row,
                                 .num_rows = num_rows[s],
                                 .pages = LayerPages(*sequences[s], layer),
                                 .write_slots = slots[s],
                                 .first_visible = sequences[s]->computed + 1,
                                 .visible_prefix = sequences[s]->visible_prefix,
                                 .first_position = sequences[s]->computed});
      row += num_rows[s];
    }
    layers.push_back(segments[layer]);
  }
  std::vector<int32_t> logit_rows(ids.size());
  std::iota(logit_rows.begin(), logit_rows.end(), 0);
  const Tensor logits = logits_.view.Rows(0, static_cast<int64_t>(ids.size()));
  CheckOk(
      model_->Forward({.token_ids = ids,
                       .positions = positions,
                       .features = features,
                       .media = media,
                       .logit_rows = logit_rows,
                       .state_rows = states == nullptr ? absl::Span<const int32_t>() : logit_rows,
                       .states = states == nullptr ? Tensor() : *states},
                      {.pool = pool_.get(), .layers = layers}, logits));
  std::vector<float> host(ids.size() * spec().vocab_size);
  CheckOk(backend_->Download(logits, absl::MakeSpan(host)));
  for (size_t s = 0; s < sequences.size(); ++s) sequences[s]->computed += num_rows[s];
  return host;
}

std::vector<float> LoadedModel::Run(TestSequence* sequence) {
  return Step({sequence}, {static_cast<int32_t>(sequence->ids.size())});
}

std::vector<float> TinyPixels(int image_size) {
  std::vector<float> pixels(size_t{3} * image_size * image_size);
  for (size_t i = 0; i < pixels.size(); ++i) {
    pixels[i] = static_cast<float>(static_cast<int>(i * 7919 % 256) - 128) / 64.0f;
  }
  return pixels;
}

}  // namespace prefixd::testing
