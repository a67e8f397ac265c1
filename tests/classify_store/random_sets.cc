#include "tests/classify_store/random_sets.h"

#include <cstring>
#include <random>
#include <tuple>
#include <vector>

namespace prefixd::testing {
namespace {

class Maker {
 public:
  explicit Maker(uint64_t seed) : random_(seed) {}

  uint64_t Below(uint64_t n) { return random_() % n; }
  bool Coin() { return Below(2) == 0; }

  // Up to `max_characters` characters of one to four bytes.
  std::string Text(uint64_t max_characters, uint64_t least = 0) {
    static const char* const kCharacters[] = {"a", "Z", " ", "\n", "é", "ß", "犬", "\u2028", "🐈"};
    std::string text;
    const uint64_t length = least + Below(max_characters - least + 1);
    for (uint64_t i = 0; i < length; ++i) text += kCharacters[Below(std::size(kCharacters))];
    return text;
  }
  std::string Bytes(size_t size) {
    std::string bytes(size, '\0');
    for (char& c : bytes) c = static_cast<char>(random_());
    return bytes;
  }
  float Float() { return std::normal_distribution<float>()(random_); }

 private:
  std::mt19937_64 random_;
};

bool EqualImages(const std::optional<ImagePart>& a, const std::optional<ImagePart>& b) {
  if (!a || !b) return a.has_value() == b.has_value();
  return a->bytes == b->bytes && a->sha256 == b->sha256;
}

bool EqualDemonstrations(const Demonstration& a, const Demonstration& b) {
  return EqualImages(a.image, b.image) && a.text == b.text && a.label == b.label;
}

bool EqualFloats(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace

StoredClassSet SmallSet(absl::string_view tenant, absl::string_view id) {
  StoredClassSet set;
  set.spec.tenant = std::string(tenant);
  set.spec.id = std::string(id);
  set.spec.names = {"cat", "dog"};
  set.created = absl::FromUnixSeconds(1'800'000'000);
  return set;
}

StoredClassSet RandomSet(absl::string_view tenant, absl::string_view id, uint64_t seed,
                         size_t max_image_bytes) {
  Maker make(seed);
  StoredClassSet set = SmallSet(tenant, id);
  ClassSetSpec& spec = set.spec;
  set.created = absl::FromUnixNanos(static_cast<int64_t>(make.Below(uint64_t{1} << 62)));
  spec.names.resize(2 + make.Below(40));
  for (std::string& name : spec.names) name = make.Text(20, 1);
  spec.label_prefix = make.Text(3);
  spec.prompt = {.system = make.Text(50),
                 .question = make.Text(80),
                 .plain = make.Coin(),
                 .separator = make.Text(4)};
  spec.null_text = make.Text(30);
  const bool choose = make.Coin();
  spec.demonstrations.resize(make.Below(9));
  for (Demonstration& demonstration : spec.demonstrations) {
    if (choose || make.Coin()) {
      demonstration.image = ImagePart{.bytes = make.Bytes(1 + make.Below(max_image_bytes)),
                                      .sha256 = make.Coin() ? make.Bytes(32) : ""};
    }
    demonstration.text = make.Text(40);
    demonstration.label = make.Text(20, 1);
  }
  const size_t count = spec.demonstrations.size();
  if (choose && count > 0) {
    spec.num_shots = static_cast<int32_t>(make.Below(count + 1));
    set.embedding_model = make.Bytes(32);
    const size_t dim = 1 + make.Below(64);
    set.embeddings.resize(count);
    for (std::vector<float>& embedding : set.embeddings) {
      for (size_t i = 0; i < dim; ++i) embedding.push_back(make.Float());
    }
  }
  return set;
}

bool Equal(const StoredClassSet& a, const StoredClassSet& b) {
  const auto texts = [](const ClassSetSpec& spec) {
    return std::tie(spec.tenant, spec.id, spec.names, spec.label_prefix, spec.prompt.system,
                    spec.prompt.question, spec.prompt.plain, spec.prompt.separator, spec.num_shots,
                    spec.null_text);
  };
  return texts(a.spec) == texts(b.spec) && a.created == b.created &&
         a.embedding_model == b.embedding_model &&
         std::equal(a.spec.demonstrations.begin(), a.spec.demonstrations.end(),
                    b.spec.demonstrations.begin(), b.spec.demonstrations.end(),
                    EqualDemonstrations) &&
         std::equal(a.embeddings.begin(), a.embeddings.end(), b.embeddings.begin(),
                    b.embeddings.end(), EqualFloats);
}

}  // namespace prefixd::testing
