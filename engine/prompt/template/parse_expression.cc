#include <algorithm>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/prompt/template/limits.h"
#include "engine/prompt/template/parser_state.h"

namespace prefixd::jinja {

using Kind = Expression::Kind;

const Token& Parser::Peek(size_t ahead) const {
  return tokens_[std::min(position_ + ahead, tokens_.size() - 1)];
}

bool Parser::IsOperator(absl::string_view op, size_t ahead) const {
  return Peek(ahead).kind == Token::Kind::kOperator && Peek(ahead).text == op;
}

bool Parser::IsName(absl::string_view name, size_t ahead) const {
  return Peek(ahead).kind == Token::Kind::kName && Peek(ahead).text == name;
}

bool Parser::SkipOperator(absl::string_view op) {
  if (!IsOperator(op)) return false;
  Next();
  return true;
}

bool Parser::SkipName(absl::string_view name) {
  if (!IsName(name)) return false;
  Next();
  return true;
}

absl::Status Parser::Malformed(absl::string_view problem) const {
  return SyntaxError(absl::StatusCode::kInvalidArgument, Peek().line, problem);
}

absl::Status Parser::Unsupported(absl::string_view construct) const {
  return SyntaxError(absl::StatusCode::kUnimplemented, Peek().line,
                     absl::StrCat(construct, " is not supported"));
}

absl::Status Parser::Unexpected() const {
  switch (Peek().kind) {
    case Token::Kind::kEnd:
    case Token::Kind::kData:
      return Malformed("unexpected end of the template");
    case Token::Kind::kBlockEnd:
      return Malformed("unexpected %}");
    case Token::Kind::kPrintEnd:
      return Malformed("unexpected }}");
    default:
      return Malformed(absl::StrCat("unexpected \"", Peek().text.substr(0, 64), "\""));
  }
}

absl::Status Parser::Expect(absl::string_view op) {
  return SkipOperator(op) ? absl::OkStatus() : Unexpected();
}

absl::StatusOr<std::string> Parser::ExpectName() {
  if (Peek().kind != Token::Kind::kName) return Unexpected();
  std::string name = Peek().text;
  Next();
  return name;
}

Parser::Node Parser::NewNode(Kind kind) const {
  auto node = std::make_unique<Expression>();
  node->kind = kind;
  node->line = Peek().line;
  return node;
}

Parser::NodeOr Parser::Finish(Node node) const {
  int below = 0;
  for (const ExpressionPtr& operand : node->operands) {
    if (operand != nullptr) below = std::max(below, operand->depth);
  }
  for (const auto& [name, value] : node->named) below = std::max(below, value->depth);
  node->depth = below + 1;
  if (node->depth > kMaxNesting) {
    return Malformed(absl::StrCat("an expression of more than ", kMaxNesting, " levels"));
  }
  return ExpressionPtr(std::move(node));
}

Parser::NodeOr Parser::ParseExpression(bool with_conditional) {
  return with_conditional ? ParseConditional() : ParseOr();
}

Parser::NodeOr Parser::ParseConditional() {
  if (nesting_ >= kMaxNesting) {
    return Malformed(absl::StrCat("nested more than ", kMaxNesting, " deep"));
  }
  ++nesting_;
  const absl::Cleanup leave = [this] { --nesting_; };
  PREFIXD_ASSIGN_OR_RETURN(ExpressionPtr value, ParseOr());
  while (IsName("if")) {
    Node node = NewNode(Kind::kConditional);
    Next();
    PREFIXD_ASSIGN_OR_RETURN(ExpressionPtr condition, ParseOr());
    node->operands.push_back(std::move(condition));
    node->operands.push_back(std::move(value));
    if (SkipName("else")) {
      PREFIXD_ASSIGN_OR_RETURN(ExpressionPtr other, ParseConditional());
      node->operands.push_back(std::move(other));
    }
    PREFIXD_ASSIGN_OR_RETURN(value, Finish(std::move(node)));
  }
  return value;
}

Parser::NodeOr Parser::ParseWords(Level operand, absl::string_view word, Kind kind) {
  PREFIXD_ASSIGN_OR_RETURN(ExpressionPtr first, (this->*operand)());
  if (!IsName(word)) return first;
  Node node = NewNode(kind);
  node->operands.push_back(std::move(first));
  while (SkipName(word)) {
    PREFIXD_ASSIGN_OR_RETURN(ExpressionPtr next, (this->*operand)());
    node->operands.push_back(std::move(next));
  }
  return Finish(std::move(node));
}

Parser::NodeOr Parser::ParseOr() { return ParseWords(&Parser::ParseAnd, "or", Kind::kOr); }

Parser::NodeOr Parser::ParseAnd() { return ParseWords(&Parser::ParseNot, "and", Kind::kAnd); }

Parser::NodeOr Parser::ParseNot() {
  if (!IsName("not")) return ParseCompare();
  if (nesting_ >= kMaxNesting) {
    return Malformed(absl::StrCat("nested more than ", kMaxNesting, " deep"));
  }
  ++nesting_;
  const absl::Cleanup leave = [this] { --nesting_; };
  Node node = NewNode(Kind::kUnary);
  Next();
  node->operators = {Operator::kNot};
  PREFIXD_ASSIGN_OR_RETURN(ExpressionPtr operand, ParseNot());
  node->operands.push_back(std::move(operand));
  return Finish(std::move(node));
}

Parser::NodeOr Parser::ParseCompare() {
  constexpr std::pair<absl::string_view, Operator> kTable[] = {
      {"==", Operator::kEqual},     {"!=", Operator::kNotEqual}, {"<", Operator::kLess},
      {"<=", Operator::kLessEqual}, {">", Operator::kGreater},   {">=", Operator::kGreaterEqual}};
  PREFIXD_ASSIGN_OR_RETURN(ExpressionPtr first, ParseSum());
  Node node = NewNode(Kind::kCompare);
  node->operands.push_back(std::move(first));
  while (true) {
    if (SkipName("in")) {
      node->operators.push_back(Operator::kIn);
    } else if (IsName("not") && IsName("in", 1)) {
      Next();
      Next();
      node->operators.push_back(Operator::kNotIn);
    } else {
      const auto* const found =
          std::find_if(std::begin(kTable), std::end(kTable),
                       [&](const auto& entry) { return IsOperator(entry.first); });
      if (found == std::end(kTable)) break;
      Next();
      node->operators.push_back(found->second);
    }
    PREFIXD_ASSIGN_OR_RETURN(ExpressionPtr next, ParseSum());
    node->operands.push_back(std::move(next));
  }
  if (node->operators.empty()) return std::move(node->operands[0]);
  return Finish(std::move(node));
}

Parser::NodeOr Parser::ParseChain(Level operand,
                                  absl::Span<const std::pair<absl::string_view, Operator>> table) {
  PREFIXD_ASSIGN_OR_RETURN(ExpressionPtr first, (this->*operand)());
  Node node = NewNode(Kind::kChain);
  node->operands.push_back(std::move(first));
  while (true) {
    const auto found = std::find_if(table.begin(), table.end(),
                                    [&](const auto& entry) { return IsOperator(entry.first); });
    if (found == table.end()) break;
    Next();
    node->operators.push_back(found->second);
    PREFIXD_ASSIGN_OR_RETURN(ExpressionPtr next, (this->*operand)());
    node->operands.push_back(std::move(next));
  }
  if (node->operators.empty()) return std::move(node->operands[0]);
  return Finish(std::move(node));
}

Parser::NodeOr Parser::ParseSum() {
  return ParseChain(&Parser::ParseConcatenation,
                    {{"+", Operator::kAdd}, {"-", Operator::kSubtract}});
}

Parser::NodeOr Parser::ParseConcatenation() {
  PREFIXD_ASSIGN_OR_RETURN(ExpressionPtr first, ParseProduct());
  if (!IsOperator("~")) return first;
  Node node = NewNode(Kind::kConcatenate);
  node->operands.push_back(std::move(first));
  while (SkipOperator("~")) {
    PREFIXD_ASSIGN_OR_RETURN(ExpressionPtr next, ParseProduct());
    node->operands.push_back(std::move(next));
  }
  return Finish(std::move(node));
}

Parser::NodeOr Parser::ParseProduct() {
  return ParseChain(&Parser::ParsePower, {{"*", Operator::kMultiply},
                                          {"/", Operator::kDivide},
                                          {"//", Operator::kFloorDivide},
                                          {"%", Operator::kModulo}});
}

// From the left, as Jinja does and Python does not.
Parser::NodeOr Parser::ParsePower() {
  PREFIXD_ASSIGN_OR_RETURN(ExpressionPtr first, ParseUnary());
  if (!IsOperator("**")) return first;
  Node node = NewNode(Kind::kChain);
  node->operands.push_back(std::move(first));
  while (SkipOperator("**")) {
    node->operators.push_back(Operator::kPower);
    PREFIXD_ASSIGN_OR_RETURN(ExpressionPtr next, ParseUnary());
    node->operands.push_back(std::move(next));
  }
  return Finish(std::move(node));
}

Parser::NodeOr Parser::ParseUnary(bool with_filter) {
  ExpressionPtr operand;
  if (IsOperator("-") || IsOperator("+")) {
    if (nesting_ >= kMaxNesting) {
      return Malformed(absl::StrCat("nested more than ", kMaxNesting, " deep"));
    }
    ++nesting_;
    const absl::Cleanup leave = [this] { --nesting_; };
    Node node = NewNode(Kind::kUnary);
    node->operators = {IsOperator("-") ? Operator::kNegate : Operator::kPlus};
    Next();
    PREFIXD_ASSIGN_OR_RETURN(ExpressionPtr inner, ParseUnary(/*with_filter=*/false));
    node->operands.push_back(std::move(inner));
    PREFIXD_ASSIGN_OR_RETURN(operand, Finish(std::move(node)));
  } else {
    PREFIXD_ASSIGN_OR_RETURN(operand, ParsePrimary());
  }
  PREFIXD_ASSIGN_OR_RETURN(operand, ParsePostfix(std::move(operand)));
  return with_filter ? ParseFiltersAndTests(std::move(operand)) : NodeOr(std::move(operand));
}

}  // namespace prefixd::jinja
