#include "engine/tokenizer/sentencepiece_file.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "engine/tokenizer/limits.h"
#include "engine/tokenizer/protobuf_reader.h"
#include "engine/tokenizer/tokenizer_parts.h"

namespace prefixd {
namespace {

constexpr int64_t kBpe = 2;

absl::Status AddPiece(absl::string_view bytes, SentencePieces* pieces) {
  const size_t id = pieces->texts.size();
  if (id == kMaxVocabSize) {
    return absl::InvalidArgumentError(absl::StrCat("more than ", kMaxVocabSize, " pieces"));
  }
  std::string text;
  float score = 0;
  int64_t type = static_cast<int64_t>(PieceType::kNormal);
  for (ProtobufReader reader(bytes); !reader.at_end();) {
    PREFIXD_ASSIGN_OR_RETURN(const ProtobufReader::Field field, reader.Next());
    if (field.number == 1) {
      PREFIXD_ASSIGN_OR_RETURN(const absl::string_view piece, field.Bytes());
      text = std::string(piece);
    } else if (field.number == 2) {
      PREFIXD_ASSIGN_OR_RETURN(score, field.Float());
    } else if (field.number == 3) {
      PREFIXD_ASSIGN_OR_RETURN(type, field.Int());
    }
  }
  const std::optional<PieceType> known = PieceTypeOf(type);
  if (!known) return absl::InvalidArgumentError(absl::StrCat("piece ", id, " has type ", type));
  pieces->texts.push_back(std::move(text));
  pieces->scores.push_back(score);
  pieces->types.push_back(*known);
  return absl::OkStatus();
}

absl::Status CheckModelType(int64_t type) {
  if (type == kBpe) return absl::OkStatus();
  constexpr const char* kNames[] = {"", "unigram", "bpe", "word", "char"};
  if (type < 1 || type > 4) {
    return absl::InvalidArgumentError(absl::StrCat("trainer_spec.model_type: ", type));
  }
  return absl::UnimplementedError(
      absl::StrCat("trainer_spec.model_type: a ", kNames[type], " model is not supported"));
}

absl::Status ReadTrainer(absl::string_view bytes, SentencePieceModel* model) {
  int64_t type = 1;  // What a file that does not say it means.
  for (ProtobufReader reader(bytes); !reader.at_end();) {
    PREFIXD_ASSIGN_OR_RETURN(const ProtobufReader::Field field, reader.Next());
    if (field.number == 3) {
      PREFIXD_ASSIGN_OR_RETURN(type, field.Int());
    } else if (field.number == 24) {
      PREFIXD_ASSIGN_OR_RETURN(const bool as_suffix, field.Bool());
      if (as_suffix) {
        return absl::UnimplementedError(
            "trainer_spec.treat_whitespace_as_suffix: true is not supported");
      }
    } else if (field.number == 35) {
      PREFIXD_ASSIGN_OR_RETURN(model->pieces.byte_fallback, field.Bool());
    } else if (field.number == 41) {
      PREFIXD_ASSIGN_OR_RETURN(model->bos_id, field.Int());
    } else if (field.number == 42) {
      PREFIXD_ASSIGN_OR_RETURN(model->eos_id, field.Int());
    }
  }
  return CheckModelType(type);
}

absl::Status ReadNormalizer(absl::string_view bytes, Normalizer::Spaces* spaces) {
  // What a file that does not say it means.
  *spaces = {.add_dummy_prefix = true, .remove_extra = true, .escape = true};
  std::string name;
  bool has_map = false;
  for (ProtobufReader reader(bytes); !reader.at_end();) {
    PREFIXD_ASSIGN_OR_RETURN(const ProtobufReader::Field field, reader.Next());
    if (field.number == 1) {
      PREFIXD_ASSIGN_OR_RETURN(const absl::string_view text, field.Bytes());
      name = std::string(text.substr(0, 64));
    } else if (field.number == 2) {
      PREFIXD_ASSIGN_OR_RETURN(const absl::string_view map, field.Bytes());
      has_map = !map.empty();
    } else if (field.number == 3) {
      PREFIXD_ASSIGN_OR_RETURN(spaces->add_dummy_prefix, field.Bool());
    } else if (field.number == 4) {
      PREFIXD_ASSIGN_OR_RETURN(spaces->remove_extra, field.Bool());
    } else if (field.number == 5) {
      PREFIXD_ASSIGN_OR_RETURN(spaces->escape, field.Bool());
    }
  }
  if (!has_map) return absl::OkStatus();
  return absl::UnimplementedError(absl::StrCat(
      "normalizer_spec.precompiled_charsmap: normalisation `", name, "` is not supported"));
}

absl::Status Named(const std::string& path, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(path, ": ", status.message()));
}

// How the model's own added tokens are found stays as the model says; flags come from the config.
void MatchAsPieces(const SentencePieces& pieces, TokenizerConfig* config) {
  for (AddedToken& token : config->added_tokens) {
    const size_t id = static_cast<size_t>(token.id);
    token.verbatim = id < pieces.types.size() && pieces.types[id] == PieceType::kUserDefined;
    token.normalized = token.verbatim;
  }
}

std::string PieceOf(const SentencePieces& pieces, int64_t id) {
  const bool known = id >= 0 && static_cast<uint64_t>(id) < pieces.texts.size();
  return known ? pieces.texts[static_cast<size_t>(id)] : "";
}

}  // namespace

absl::StatusOr<SentencePieceModel> ParseSentencePieceModel(absl::string_view bytes) {
  SentencePieceModel model;
  bool has_trainer = false;
  bool has_normalizer = false;
  for (ProtobufReader reader(bytes); !reader.at_end();) {
    PREFIXD_ASSIGN_OR_RETURN(const ProtobufReader::Field field, reader.Next());
    if (field.number == 1) {
      PREFIXD_ASSIGN_OR_RETURN(const absl::string_view piece, field.Bytes());
      PREFIXD_RETURN_IF_ERROR(AddPiece(piece, &model.pieces));
    } else if (field.number == 2) {
      PREFIXD_ASSIGN_OR_RETURN(const absl::string_view trainer, field.Bytes());
      PREFIXD_RETURN_IF_ERROR(ReadTrainer(trainer, &model));
      has_trainer = true;
    } else if (field.number == 3) {
      PREFIXD_ASSIGN_OR_RETURN(const absl::string_view normalizer, field.Bytes());
      PREFIXD_RETURN_IF_ERROR(ReadNormalizer(normalizer, &model.pieces.spaces));
      has_normalizer = true;
    }
  }
  if (!has_trainer) return absl::InvalidArgumentError("trainer_spec is missing");
  if (!has_normalizer) return absl::InvalidArgumentError("normalizer_spec is missing");
  return model;
}

absl::StatusOr<std::unique_ptr<const Tokenizer>> TokenizerFromSentencePiece(
    const std::string& path, TokenizerConfig config) {
  PREFIXD_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path, kMaxTokenizerFileBytes));
  absl::StatusOr<SentencePieceModel> model = ParseSentencePieceModel(bytes);
  if (!model.ok()) return Named(path, model.status());
  if (config.bos_token.empty()) config.bos_token = PieceOf(model->pieces, model->bos_id);
  if (config.eos_token.empty()) config.eos_token = PieceOf(model->pieces, model->eos_id);
  config.add_bos_token = config.add_bos_token.value_or(true);
  MatchAsPieces(model->pieces, &config);
  model->pieces.prefix_first_text_only = !config.legacy.value_or(true);
  PREFIXD_ASSIGN_OR_RETURN(TokenizerParts parts, PartsOfPieces(std::move(model->pieces), path));
  return BuildTokenizer(std::move(parts), std::move(config));
}

}  // namespace prefixd
