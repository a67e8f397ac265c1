// The input part of convert.h.
#ifndef PREFIXD_SERVER_CONVERT_INPUT_H_
#define PREFIXD_SERVER_CONVERT_INPUT_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/engine.h"
#include "engine/error_reasons.h"
#include "engine/request.h"
#include "google/protobuf/message.h"
#include "prefixd/v1/input.pb.h"
#include "server/request_limits.h"
#include "server/violations.h"

namespace prefixd {

// Converts one form of input at a time; counts texts and images over all its parts.
class InputConverter {
 public:
  // A conversation that is asked for an answer ends with the user; one that is only a beginning
  // ends with anybody.
  enum class Use { kAsk, kPrefix };

  // The arguments must outlive the converter.
  InputConverter(const EngineModelInfo& model, const RequestLimits& limits, Violations* violations,
                 Use use = Use::kAsk)
      : model_(model), limits_(limits), violations_(*violations), use_(use) {}

  // Whichever form is set in `message`, which has the `oneof input` of GenerateRequest.
  template <typename Message>
  Input Convert(Message* message) {
    switch (message->input_case()) {
      case Message::kChat:
        return Chat(message->mutable_chat());
      case Message::kPrompt:
        return Prompt(message->mutable_prompt());
      case Message::kTokens:
        return Tokens(message->mutable_tokens());
      default:
        violations_.Add(reason::kInputInvalid, "input",
                        "one of chat, prompt and tokens is required");
        return Input();
    }
  }

  ChatInput Chat(v1::ChatInput* chat);
  PromptInput Prompt(v1::PromptInput* prompt);
  TokenInput Tokens(v1::TokenInput* tokens);

  // Pieces of an input that has another form, at `path`.
  std::string Text(std::string* text);
  ImagePart Image(v1::Image* image, const std::string& path);
  // Says how many images one prompt has, where that is not how many were converted.
  void SetNumImages(int count) { num_images_ = count; }
  // Notes FAILED_PRECONDITION unless the model has a chat template.
  void RequireChatTemplate();

  // What is wrong beyond single fields: a feature that the model (FAILED_PRECONDITION) or the
  // server (UNIMPLEMENTED) lacks. Call it last.
  absl::Status Finish();

  // Notes UNIMPLEMENTED if `message` carries one of the reserved fields [first, last].
  void RefuseReserved(const google::protobuf::Message& message, const std::string& path, int first,
                      int last);

 private:
  std::vector<Part> Parts(google::protobuf::RepeatedPtrField<v1::Part>* parts,
                          const std::string& path);
  void CheckImageBytes(const v1::Image& image, const std::string& path);
  void CheckImageDigest(const v1::Image& image, const std::string& path);
  void CheckTokenIds(const v1::TokenInput& tokens);
  Role ConvertRole(const v1::ChatMessage& message, int index, const std::string& path);

  const EngineModelInfo& model_;
  const RequestLimits& limits_;
  Violations& violations_;
  const Use use_;
  uint64_t text_bytes_ = 0;
  int num_images_ = 0;
  absl::Status unsupported_;
};

}  // namespace prefixd

#endif  // PREFIXD_SERVER_CONVERT_INPUT_H_
