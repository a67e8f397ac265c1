// What a conversation has said so far and how the next answer is generated. One thread.
#ifndef PREFIXD_CLIENT_PREFIXCTL_CONVERSATION_H_
#define PREFIXD_CLIENT_PREFIXCTL_CONVERSATION_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "client/prefixctl/options.h"
#include "prefixd/v1/generation_service.pb.h"

namespace prefixd::ctl {

class Conversation {
 public:
  explicit Conversation(const Options& options);

  // The next question carries this image too.
  void AddImage(std::string bytes) { images_.push_back(std::move(bytes)); }
  size_t num_waiting_images() const { return images_.size(); }

  // The request that asks `question` after all turns so far, with the images that wait.
  v1::GenerateRequest Ask(absl::string_view question) const;
  // Keeps the turn: the next request holds it. The images no longer wait.
  void Keep(absl::string_view question, absl::string_view answer);
  // Forgets all turns and waiting images; settings stay.
  void Clear();

  // Changes a setting: system, max-tokens, temperature, top-p, top-k, seed, stop, retention,
  // budget, policy, profile. An empty value goes back to the server's default. Errors:
  // INVALID_ARGUMENT, with the list of settings.
  absl::Status Set(absl::string_view name, absl::string_view value);

 private:
  v1::ChatMessage Question(absl::string_view question) const;

  const std::string model_;
  const std::string prefix_;
  const bool no_cache_;
  const bool no_kv_cache_;
  const std::string cache_salt_;
  std::string system_;
  Generation generation_;
  Retention retention_;
  std::vector<v1::ChatMessage> turns_;
  std::vector<std::string> images_;
};

}  // namespace prefixd::ctl

#endif  // PREFIXD_CLIENT_PREFIXCTL_CONVERSATION_H_
