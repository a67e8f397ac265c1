// Writes a seeded random checkpoint: make_random_model --shape 135m --out DIR.
#include <cstdio>
#include <map>
#include <string>

#include "CLI/CLI.hpp"
#include "tools/random_model.h"

int main(int argc, char** argv) {
  prefixd::RandomModelOptions options;
  std::string directory, shapes;
  for (const auto& shape : prefixd::RandomModelShapes()) shapes += " " + shape.name;
  CLI::App app("Writes a random checkpoint whose bytes depend on shape, seed and dtype only.");
  app.add_option("--shape", options.shape, "One of:" + shapes)->required();
  app.add_option("--out", directory, "Directory to write; made if it does not exist")->required();
  app.add_option("--seed", options.seed, "Seed of the weights (default 1)");
  const std::map<std::string, prefixd::DType> dtypes = {{"bf16", prefixd::DType::kBF16},
                                                        {"f16", prefixd::DType::kF16},
                                                        {"f32", prefixd::DType::kF32}};
  app.add_option("--dtype", options.dtype, "bf16 (default), f16 or f32")
      ->transform(CLI::CheckedTransformer(dtypes));
  app.add_option("--sharded", options.num_shards, "Number of files, 1 to 99 (default 1)");
  CLI11_PARSE(app, argc, argv);

  const absl::Status status = prefixd::WriteRandomModel(options, directory);
  if (status.ok()) return 0;
  const std::string message(status.message().data(), status.message().size());
  std::fprintf(stderr, "make_random_model: %s\n", message.c_str());
  return 1;
}
