// A message of flat numbers, texts and messages of such as one line of JSON. Pure function.
#ifndef PREFIXD_CLIENT_PREFIXCTL_MESSAGE_JSON_H_
#define PREFIXD_CLIENT_PREFIXCTL_MESSAGE_JSON_H_

#include <string>

#include <google/protobuf/message.h>

namespace prefixd::ctl {

// Keys are the names of the fields, in their order; a field that is not set is there with its
// default, and 64-bit numbers are numbers (not texts, as in the JSON of protobuf). Fields of other
// types than numbers, bool, string and messages are left out.
std::string MessageLine(const google::protobuf::Message& message);

}  // namespace prefixd::ctl

#endif  // PREFIXD_CLIENT_PREFIXCTL_MESSAGE_JSON_H_
