#include "tools/checkpoint_options.h"

#include <string>

namespace prefixd::tools {
namespace {

// What both converters have.
void AddTowerOptions(CLI::App* app, std::string* tower, int* heads) {
  app->add_option("--vision-tower", *tower, "CLIP's tower: a directory or a file")
      ->type_name("PATH");
  app->add_option("--vision-heads", *heads,
                  "Heads of the tower (default: as its config.json says, or 64 columns each)")
      ->type_name("N")
      ->check(CLI::Range(1, 1024));
}

}  // namespace

void AddConvertOptions(CLI::App* app, Options* options) {
  app->require_subcommand(1);
  CLI::App* const llava = app->add_subcommand(
      "llava", "An original LLaVA in .bin files, and its tower, to safetensors in one directory");
  llava->add_option("--model", options->llava.model, "Directory in the original layout")
      ->type_name("DIR")
      ->required();
  AddTowerOptions(llava, &options->llava.vision_tower, &options->llava.vision_heads);
  llava->add_option("--out", options->llava.out, "Directory to make")->type_name("DIR")->required();
  ConvertOpenFlamingoOptions& flamingo = options->openflamingo;
  CLI::App* const openflamingo = app->add_subcommand(
      "openflamingo", "checkpoint.pt, its language model and its tower to one directory");
  openflamingo->add_option("--checkpoint", flamingo.checkpoint, "checkpoint.pt")
      ->type_name("FILE")
      ->required();
  openflamingo->add_option("--language-model", flamingo.language_model, "Directory of the model")
      ->type_name("DIR")
      ->required();
  AddTowerOptions(openflamingo, &flamingo.vision_tower, &flamingo.vision_heads);
  openflamingo->get_option("--vision-tower")->required();
  openflamingo
      ->add_option("--attention-heads", flamingo.attention_heads,
                   "Heads of the perceiver and of the gated blocks")
      ->type_name("N")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  openflamingo->add_option("--out", flamingo.out, "Directory to make")
      ->type_name("DIR")
      ->required();
  for (CLI::App* const command : {llava, openflamingo}) command->footer(kExitCodes);
}

void AddInspectOptions(CLI::App* app, Options* options) {
  app->add_option("path", options->inspect.path,
                  "Directory or file: safetensors, .gguf, or of torch.save")
      ->type_name("PATH")
      ->required();
  app->add_flag("--json", options->inspect.json, "Print one JSON object");
  app->footer(kExitCodes);
}

}  // namespace prefixd::tools
