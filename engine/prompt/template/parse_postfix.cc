#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/prompt/template/callees.h"
#include "engine/prompt/template/parser_state.h"

namespace prefixd::jinja {

using Kind = Expression::Kind;

Parser::NodeOr Parser::StringNode(std::string bytes) const {
  Node node = NewNode(Kind::kConstant);
  node->text = Text(bytes);
  node->value = Value(&node->text);
  return ExpressionPtr(std::move(node));
}

Parser::NodeOr Parser::ParsePrimary() {
  const Token& token = Peek();
  switch (token.kind) {
    case Token::Kind::kName:
      return ParseName();
    case Token::Kind::kString: {
      std::string bytes;
      while (Peek().kind == Token::Kind::kString) {
        bytes += Peek().text;
        Next();
      }
      return StringNode(std::move(bytes));
    }
    case Token::Kind::kInteger: {
      int64_t integer = 0;
      if (!absl::SimpleAtoi(token.text, &integer)) return Unsupported("an integer of over 64 bits");
      Node node = NewNode(Kind::kConstant);
      node->value = Value(integer);
      Next();
      return ExpressionPtr(std::move(node));
    }
    case Token::Kind::kFloat: {
      double real = 0;
      if (!absl::SimpleAtod(token.text, &real)) return Unexpected();
      Node node = NewNode(Kind::kConstant);
      node->value = Value(real);
      Next();
      return ExpressionPtr(std::move(node));
    }
    default:
      break;
  }
  if (SkipOperator("(")) {
    PREFIXD_ASSIGN_OR_RETURN(ExpressionPtr inner,
                             ParseTuple(/*with_conditional=*/true, /*in_brackets=*/true));
    PREFIXD_RETURN_IF_ERROR(Expect(")"));
    return inner;
  }
  if (IsOperator("[")) return ParseListLiteral();
  if (IsOperator("{")) return ParseDictLiteral();
  return Unexpected();
}

Parser::NodeOr Parser::ParseName() {
  Node node = NewNode(Kind::kName);
  node->name = Peek().text;
  Next();
  const absl::string_view name = node->name;
  std::optional<Value> constant;
  if (name == "true" || name == "True") constant = Value(true);
  if (name == "false" || name == "False") constant = Value(false);
  if (name == "none" || name == "None") constant = Value::None();
  if (constant) {
    node->kind = Kind::kConstant;
    node->value = *constant;
  } else if (macro_ != nullptr) {
    macro_->takes_varargs |= name == "varargs";
    macro_->takes_kwargs |= name == "kwargs";
    macro_->takes_caller |= name == "caller";
  }
  return ExpressionPtr(std::move(node));
}

Parser::NodeOr Parser::ParseListLiteral() {
  Node node = NewNode(Kind::kList);
  PREFIXD_RETURN_IF_ERROR(Expect("["));
  while (!SkipOperator("]")) {
    if (!node->operands.empty()) PREFIXD_RETURN_IF_ERROR(Expect(","));
    if (SkipOperator("]")) break;
    PREFIXD_ASSIGN_OR_RETURN(ExpressionPtr item, ParseExpression());
    node->operands.push_back(std::move(item));
  }
  return Finish(std::move(node));
}

Parser::NodeOr Parser::ParseDictLiteral() {
  Node node = NewNode(Kind::kDict);
  PREFIXD_RETURN_IF_ERROR(Expect("{"));
  while (!SkipOperator("}")) {
    if (!node->operands.empty()) PREFIXD_RETURN_IF_ERROR(Expect(","));
    if (SkipOperator("}")) break;
    PREFIXD_ASSIGN_OR_RETURN(ExpressionPtr key, ParseExpression());
    PREFIXD_RETURN_IF_ERROR(Expect(":"));
    PREFIXD_ASSIGN_OR_RETURN(ExpressionPtr value, ParseExpression());
    node->operands.push_back(std::move(key));
    node->operands.push_back(std::move(value));
  }
  return Finish(std::move(node));
}

bool Parser::AtTupleEnd() const {
  return Peek().kind == Token::Kind::kBlockEnd || Peek().kind == Token::Kind::kPrintEnd ||
         IsOperator(")") || IsName("recursive");
}

Parser::NodeOr Parser::ParseTuple(bool with_conditional, bool in_brackets) {
  Node node = NewNode(Kind::kTuple);
  bool is_tuple = false;
  while (!AtTupleEnd()) {
    PREFIXD_ASSIGN_OR_RETURN(ExpressionPtr item, ParseExpression(with_conditional));
    node->operands.push_back(std::move(item));
    if (!SkipOperator(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && !node->operands.empty()) return std::move(node->operands[0]);
  if (node->operands.empty() && !in_brackets) return Unexpected();
  return Finish(std::move(node));
}

Parser::NodeOr Parser::ParsePostfix(ExpressionPtr operand) {
  while (true) {
    if (IsOperator(".") || IsOperator("[")) {
      PREFIXD_ASSIGN_OR_RETURN(operand, ParseSubscript(std::move(operand)));
    } else if (IsOperator("(")) {
      PREFIXD_ASSIGN_OR_RETURN(operand, ParseCall(std::move(operand)));
    } else {
      return operand;
    }
  }
}

Parser::NodeOr Parser::ParseFiltersAndTests(ExpressionPtr operand) {
  while (true) {
    if (SkipOperator("|")) {
      PREFIXD_ASSIGN_OR_RETURN(operand, ParseFilter(std::move(operand)));
    } else if (SkipName("is")) {
      PREFIXD_ASSIGN_OR_RETURN(operand, ParseTest(std::move(operand)));
    } else if (IsOperator("(")) {
      PREFIXD_ASSIGN_OR_RETURN(operand, ParseCall(std::move(operand)));
    } else {
      return operand;
    }
  }
}

Parser::NodeOr Parser::ParseFilter(ExpressionPtr operand) {
  Node node = NewNode(Kind::kFilter);
  node->operands.push_back(std::move(operand));
  if (Peek().kind == Token::Kind::kName) {
    node->callee = FindFilter(Peek().text);
    if (node->callee == nullptr) return Unsupported(absl::StrCat("filter \"", Peek().text, "\""));
  }
  PREFIXD_ASSIGN_OR_RETURN(node->name, ExpectName());
  if (IsOperator("(")) PREFIXD_RETURN_IF_ERROR(ParseArguments(node.get()));
  return Finish(std::move(node));
}

Parser::NodeOr Parser::ParseFilterChain(ExpressionPtr operand) {
  PREFIXD_ASSIGN_OR_RETURN(operand, ParseFilter(std::move(operand)));
  while (SkipOperator("|")) {
    PREFIXD_ASSIGN_OR_RETURN(operand, ParseFilter(std::move(operand)));
  }
  return operand;
}

Parser::NodeOr Parser::ParseTest(ExpressionPtr operand) {
  const bool negated = SkipName("not");
  Node node = NewNode(Kind::kTest);
  node->operands.push_back(std::move(operand));
  if (Peek().kind == Token::Kind::kName) {
    node->callee = FindTest(Peek().text);
    if (node->callee == nullptr) return Unsupported(absl::StrCat("test \"", Peek().text, "\""));
  }
  PREFIXD_ASSIGN_OR_RETURN(node->name, ExpectName());
  const Token::Kind kind = Peek().kind;
  if (IsOperator("(")) {
    PREFIXD_RETURN_IF_ERROR(ParseArguments(node.get()));
  } else if (kind == Token::Kind::kString || kind == Token::Kind::kInteger ||
             kind == Token::Kind::kFloat || IsOperator("[") || IsOperator("{") ||
             (kind == Token::Kind::kName && !IsName("else") && !IsName("or") && !IsName("and"))) {
    // One argument may stand without brackets.
    if (IsName("is")) return Malformed("tests in a row need brackets");
    PREFIXD_ASSIGN_OR_RETURN(ExpressionPtr argument, ParsePrimary());
    PREFIXD_ASSIGN_OR_RETURN(argument, ParsePostfix(std::move(argument)));
    node->operands.push_back(std::move(argument));
  }
  if (!negated) return Finish(std::move(node));
  Node negation = NewNode(Kind::kUnary);
  negation->operators = {Operator::kNot};
  PREFIXD_ASSIGN_OR_RETURN(ExpressionPtr test, Finish(std::move(node)));
  negation->operands.push_back(std::move(test));
  return Finish(std::move(negation));
}

Parser::NodeOr Parser::ParseSubscript(ExpressionPtr operand) {
  Node node = NewNode(Kind::kItem);
  node->operands.push_back(std::move(operand));
  if (SkipOperator(".")) {
    if (Peek().kind == Token::Kind::kInteger) {
      PREFIXD_ASSIGN_OR_RETURN(ExpressionPtr index, ParsePrimary());
      node->operands.push_back(std::move(index));
      return Finish(std::move(node));
    }
    node->kind = Kind::kAttribute;
    PREFIXD_ASSIGN_OR_RETURN(node->name, ExpectName());
    return Finish(std::move(node));
  }
  PREFIXD_RETURN_IF_ERROR(Expect("["));
  bool slice = false;
  size_t parts = 0;
  while (!IsOperator("]")) {
    if (SkipOperator(":")) {
      slice = true;
      node->operands.resize(++parts + 1);
      if (parts > 2) return Unexpected();
      continue;
    }
    if (node->operands.size() > parts + 1) return Unexpected();
    PREFIXD_ASSIGN_OR_RETURN(ExpressionPtr part, ParseExpression());
    node->operands.push_back(std::move(part));
    if (IsOperator(",")) return Unsupported("an index of several values");
  }
  Next();
  if (!slice && node->operands.size() == 1) return Malformed("an index without value");
  if (slice) {
    node->kind = Kind::kSlice;
    node->operands.resize(4);
  }
  return Finish(std::move(node));
}

Parser::NodeOr Parser::ParseCall(ExpressionPtr operand) {
  if (operand->kind == Kind::kAttribute && !IsMethodName(operand->name)) {
    return Unsupported(absl::StrCat("method \"", operand->name, "\""));
  }
  for (const absl::string_view name : {"cycler", "joiner", "lipsum"}) {
    if (operand->kind == Kind::kName && operand->name == name) {
      return Unsupported(absl::StrCat("function \"", name, "\""));
    }
  }
  Node node = NewNode(Kind::kCall);
  node->operands.push_back(std::move(operand));
  PREFIXD_RETURN_IF_ERROR(ParseArguments(node.get()));
  return Finish(std::move(node));
}

absl::Status Parser::ParseArguments(Expression* call) {
  PREFIXD_RETURN_IF_ERROR(Expect("("));
  bool first = true;
  while (!SkipOperator(")")) {
    if (!first) PREFIXD_RETURN_IF_ERROR(Expect(","));
    first = false;
    if (SkipOperator(")")) break;
    if (IsOperator("*") || IsOperator("**")) return Unsupported("an argument with * or **");
    if (Peek().kind == Token::Kind::kName && IsOperator("=", 1)) {
      std::string name = Peek().text;
      Next();
      Next();
      for (const auto& [other, value] : call->named) {
        if (other == name) return Malformed(absl::StrCat("argument \"", name, "\" stands twice"));
      }
      PREFIXD_ASSIGN_OR_RETURN(ExpressionPtr value, ParseExpression());
      call->named.emplace_back(std::move(name), std::move(value));
      continue;
    }
    if (!call->named.empty()) return Malformed("a positional argument after a named one");
    PREFIXD_ASSIGN_OR_RETURN(ExpressionPtr value, ParseExpression());
    call->operands.push_back(std::move(value));
  }
  return absl::OkStatus();
}

}  // namespace prefixd::jinja
