// The recursive descent behind ParseTemplate, in the grammar of Jinja 3.1. One parse, one thread.
#ifndef PREFIXD_ENGINE_PROMPT_TEMPLATE_PARSER_STATE_H_
#define PREFIXD_ENGINE_PROMPT_TEMPLATE_PARSER_STATE_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/prompt/template/ast.h"
#include "engine/prompt/template/lexer.h"

namespace prefixd::jinja {

class Parser {
 public:
  // Requires: the last token is kEnd.
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  absl::StatusOr<Block> ParseAll();

 private:
  using Node = std::unique_ptr<Expression>;
  using NodeOr = absl::StatusOr<ExpressionPtr>;
  using StatementOr = absl::StatusOr<std::unique_ptr<Statement>>;

  // --- Tokens
  const Token& Peek(size_t ahead = 0) const;
  bool IsOperator(absl::string_view op, size_t ahead = 0) const;
  bool IsName(absl::string_view name, size_t ahead = 0) const;
  void Next() { ++position_; }
  bool SkipOperator(absl::string_view op);
  bool SkipName(absl::string_view name);
  absl::Status Expect(absl::string_view op);
  absl::StatusOr<std::string> ExpectName();
  absl::Status Malformed(absl::string_view problem) const;
  absl::Status Unsupported(absl::string_view construct) const;
  absl::Status Unexpected() const;

  // --- Expressions (parse_expression.cc, parse_postfix.cc); the least binding first
  NodeOr ParseExpression(bool with_conditional = true);
  NodeOr ParseConditional();
  NodeOr ParseOr();
  NodeOr ParseAnd();
  NodeOr ParseNot();
  NodeOr ParseCompare();
  NodeOr ParseSum();
  NodeOr ParseConcatenation();
  NodeOr ParseProduct();
  NodeOr ParsePower();
  NodeOr ParseUnary(bool with_filter = true);
  NodeOr ParsePrimary();
  NodeOr ParseName();
  NodeOr ParsePostfix(ExpressionPtr operand);
  NodeOr ParseFiltersAndTests(ExpressionPtr operand);
  NodeOr ParseFilter(ExpressionPtr operand);  // From the name on.
  NodeOr ParseFilterChain(ExpressionPtr operand);
  NodeOr ParseTest(ExpressionPtr operand);
  NodeOr ParseSubscript(ExpressionPtr operand);
  NodeOr ParseCall(ExpressionPtr operand);
  absl::Status ParseArguments(Expression* call);
  NodeOr ParseListLiteral();
  NodeOr ParseDictLiteral();
  // Expressions separated by commas: one is itself, more are a tuple. `in_brackets`: an empty one
  // is allowed.
  NodeOr ParseTuple(bool with_conditional, bool in_brackets = false);
  bool AtTupleEnd() const;

  using Level = NodeOr (Parser::*)();
  // operand (operator operand)*, all in one node.
  NodeOr ParseChain(Level operand, absl::Span<const std::pair<absl::string_view, Operator>> table);
  NodeOr ParseWords(Level operand, absl::string_view word, Expression::Kind kind);

  Node NewNode(Expression::Kind kind) const;
  // Sets the depth. Errors: INVALID_ARGUMENT if the tree is too deep.
  NodeOr Finish(Node node) const;
  NodeOr StringNode(std::string bytes) const;

  // --- Statements (parse_statement.cc)
  // Up to a tag of one of these names, which is not consumed; empty: up to the end.
  absl::StatusOr<Block> ParseBlock(absl::Span<const absl::string_view> ends);
  absl::Status ParseTag(Block* block);
  StatementOr ParseStatement();
  // Consumes the tag's end, the body, and the name of the tag that ends it.
  absl::StatusOr<Block> ParseBody(absl::Span<const absl::string_view> ends);
  absl::Status ParseIf(Statement* statement);
  absl::Status ParseFor(Statement* statement);
  absl::Status ParseSet(Statement* statement);
  absl::Status ParseWith(Statement* statement);
  absl::Status ParseMacro(Statement* statement);
  absl::Status ParseCallBlock(Statement* statement);
  absl::Status ParseFilterBlock(Statement* statement);
  absl::Status ParseParameters(Statement* statement);
  // The body of something that is called: loops around it cannot be left from there.
  absl::Status ParseCalledBody(Statement* statement, absl::string_view end);
  absl::StatusOr<Statement::Target> ParseTarget(bool with_namespace, int nesting = 0);
  absl::StatusOr<Statement::Target> ParseTargetPart(bool with_namespace, int nesting);

  const std::vector<Token> tokens_;
  size_t position_ = 0;
  int nesting_ = 0;
  int loops_ = 0;               // Around the current tag, within the current macro.
  Statement* macro_ = nullptr;  // The innermost one.
};

}  // namespace prefixd::jinja

#endif  // PREFIXD_ENGINE_PROMPT_TEMPLATE_PARSER_STATE_H_
