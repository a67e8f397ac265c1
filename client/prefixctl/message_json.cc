#include "client/prefixctl/message_json.h"

#include <google/protobuf/descriptor.h>
#include <nlohmann/json.hpp>

namespace prefixd::ctl {
namespace {

using Json = nlohmann::ordered_json;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

Json ToJson(const Message& message);

Json ValueOf(const Message& message, const FieldDescriptor* field) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return reflection.GetInt32(message, field);
    case FieldDescriptor::CPPTYPE_INT64:
      return reflection.GetInt64(message, field);
    case FieldDescriptor::CPPTYPE_UINT64:
      return reflection.GetUInt64(message, field);
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.GetBool(message, field);
    case FieldDescriptor::CPPTYPE_STRING:
      return reflection.GetString(message, field);
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return ToJson(reflection.GetMessage(message, field));
    default:
      return Json(Json::value_t::discarded);
  }
}

Json ToJson(const Message& message) {
  const google::protobuf::Descriptor& descriptor = *message.GetDescriptor();
  Json json = Json::object();
  for (int i = 0; i < descriptor.field_count(); ++i) {
    const FieldDescriptor* const field = descriptor.field(i);
    if (field->is_repeated()) {
      if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
      Json list = Json::array();
      const google::protobuf::Reflection& reflection = *message.GetReflection();
      for (int j = 0; j < reflection.FieldSize(message, field); ++j) {
        list.push_back(ToJson(reflection.GetRepeatedMessage(message, field, j)));
      }
      json[field->name()] = std::move(list);
    } else if (Json value = ValueOf(message, field); !value.is_discarded()) {
      json[field->name()] = std::move(value);
    }
  }
  return json;
}

}  // namespace

std::string MessageLine(const Message& message) {
  return ToJson(message).dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace prefixd::ctl
