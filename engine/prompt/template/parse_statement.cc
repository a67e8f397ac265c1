#include <algorithm>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/prompt/template/limits.h"
#include "engine/prompt/template/parser.h"
#include "engine/prompt/template/parser_state.h"
#include "engine/tokenizer/unicode.h"

namespace prefixd::jinja {

using StatementKind = Statement::Kind;

absl::StatusOr<Block> Parser::ParseAll() { return ParseBlock({}); }

absl::StatusOr<Block> Parser::ParseBlock(absl::Span<const absl::string_view> ends) {
  if (nesting_ >= kMaxNesting) {
    return Malformed(absl::StrCat("nested more than ", kMaxNesting, " deep"));
  }
  ++nesting_;
  const absl::Cleanup leave = [this] { --nesting_; };
  Block block;
  while (Peek().kind != Token::Kind::kEnd) {
    auto statement = std::make_unique<Statement>();
    statement->line = Peek().line;
    switch (Peek().kind) {
      case Token::Kind::kData:
        statement->text = Text(Peek().text);
        Next();
        break;
      case Token::Kind::kPrintBegin: {
        Next();
        statement->kind = StatementKind::kPrint;
        PREFIXD_ASSIGN_OR_RETURN(statement->expression, ParseTuple(/*with_conditional=*/true));
        if (Peek().kind != Token::Kind::kPrintEnd) return Unexpected();
        Next();
        break;
      }
      default: {
        Next();
        const auto is_end = [this](absl::string_view end) { return IsName(end); };
        if (std::any_of(ends.begin(), ends.end(), is_end)) return block;
        PREFIXD_ASSIGN_OR_RETURN(statement, ParseStatement());
        if (Peek().kind != Token::Kind::kBlockEnd) return Unexpected();
        Next();
        break;
      }
    }
    block.push_back(std::move(statement));
  }
  if (ends.empty()) return block;
  return Malformed(absl::StrCat("the template ends before {% ", ends.back(), " %}"));
}

absl::StatusOr<Block> Parser::ParseBody(absl::Span<const absl::string_view> ends) {
  if (Peek().kind != Token::Kind::kBlockEnd) return Unexpected();
  Next();
  return ParseBlock(ends);
}

Parser::StatementOr Parser::ParseStatement() {
  auto statement = std::make_unique<Statement>();
  statement->line = Peek().line;
  const std::string tag = Peek().kind == Token::Kind::kName ? Peek().text : "";
  const auto with = [&](StatementKind kind,
                        absl::Status (Parser::*parse)(Statement*)) -> StatementOr {
    Next();
    statement->kind = kind;
    PREFIXD_RETURN_IF_ERROR((this->*parse)(statement.get()));
    return std::move(statement);
  };
  if (tag == "if") return with(StatementKind::kIf, &Parser::ParseIf);
  if (tag == "for") return with(StatementKind::kFor, &Parser::ParseFor);
  if (tag == "set") return with(StatementKind::kSet, &Parser::ParseSet);
  if (tag == "with") return with(StatementKind::kWith, &Parser::ParseWith);
  if (tag == "macro") return with(StatementKind::kMacro, &Parser::ParseMacro);
  if (tag == "call") return with(StatementKind::kCallBlock, &Parser::ParseCallBlock);
  if (tag == "filter") return with(StatementKind::kFilterBlock, &Parser::ParseFilterBlock);
  if (tag == "generation") {
    Next();
    statement->kind = StatementKind::kGroup;
    PREFIXD_RETURN_IF_ERROR(ParseCalledBody(statement.get(), "endgeneration"));
    return statement;
  }
  if (tag == "break" || tag == "continue") {
    if (loops_ == 0) return Malformed(absl::StrCat("{% ", tag, " %}: there is no loop to leave"));
    statement->kind = tag == "break" ? StatementKind::kBreak : StatementKind::kContinue;
    Next();
    return statement;
  }
  if (tag.empty() || absl::string_view(tag).substr(0, 3) == "end" || tag == "else" ||
      tag == "elif") {
    return Unexpected();
  }
  return Unsupported(absl::StrCat("{% ", tag.substr(0, 64), " %}"));
}

absl::Status Parser::ParseIf(Statement* statement) {
  while (true) {
    Statement::Branch branch;
    PREFIXD_ASSIGN_OR_RETURN(branch.condition, ParseTuple(/*with_conditional=*/false));
    PREFIXD_ASSIGN_OR_RETURN(branch.body, ParseBody({"elif", "else", "endif"}));
    statement->branches.push_back(std::move(branch));
    if (SkipName("elif")) continue;
    if (SkipName("else")) {
      Statement::Branch other;
      PREFIXD_ASSIGN_OR_RETURN(other.body, ParseBody({"endif"}));
      statement->branches.push_back(std::move(other));
    }
    Next();  // endif
    return absl::OkStatus();
  }
}

absl::Status Parser::ParseFor(Statement* statement) {
  PREFIXD_ASSIGN_OR_RETURN(statement->target, ParseTarget(/*with_namespace=*/false));
  if (!SkipName("in")) return Unexpected();
  PREFIXD_ASSIGN_OR_RETURN(statement->expression, ParseTuple(/*with_conditional=*/false));
  if (SkipName("if")) {
    PREFIXD_ASSIGN_OR_RETURN(statement->condition, ParseExpression());
  }
  if (IsName("recursive")) return Unsupported("{% for ... recursive %}");
  ++loops_;
  absl::StatusOr<Block> body = ParseBody({"else", "endfor"});
  --loops_;
  PREFIXD_ASSIGN_OR_RETURN(statement->body, std::move(body));
  if (SkipName("else")) {
    PREFIXD_ASSIGN_OR_RETURN(statement->other, ParseBody({"endfor"}));
  }
  Next();  // endfor
  return absl::OkStatus();
}

absl::StatusOr<Statement::Target> Parser::ParseTargetPart(bool with_namespace, int nesting) {
  if (SkipOperator("(")) {
    PREFIXD_ASSIGN_OR_RETURN(Statement::Target inner, ParseTarget(with_namespace, nesting + 1));
    PREFIXD_RETURN_IF_ERROR(Expect(")"));
    return inner;
  }
  Statement::Target part;
  PREFIXD_ASSIGN_OR_RETURN(part.name, ExpectName());
  for (const absl::string_view word : {"true", "false", "none", "True", "False", "None"}) {
    if (part.name == word) return Malformed(absl::StrCat("cannot assign to ", word));
  }
  if (with_namespace && SkipOperator(".")) {
    PREFIXD_ASSIGN_OR_RETURN(part.attribute, ExpectName());
  }
  return part;
}

absl::StatusOr<Statement::Target> Parser::ParseTarget(bool with_namespace, int nesting) {
  if (nesting >= kMaxNesting) {
    return Malformed(absl::StrCat("nested more than ", kMaxNesting, " deep"));
  }
  PREFIXD_ASSIGN_OR_RETURN(Statement::Target first, ParseTargetPart(with_namespace, nesting));
  if (!IsOperator(",")) return first;
  Statement::Target tuple;
  tuple.is_tuple = true;
  tuple.parts.push_back(std::move(first));
  while (SkipOperator(",")) {
    if (IsName("in") || IsOperator("=") || IsOperator(")")) break;
    PREFIXD_ASSIGN_OR_RETURN(Statement::Target part, ParseTargetPart(with_namespace, nesting));
    tuple.parts.push_back(std::move(part));
  }
  return tuple;
}

absl::Status Parser::ParseSet(Statement* statement) {
  PREFIXD_ASSIGN_OR_RETURN(statement->target, ParseTarget(/*with_namespace=*/true));
  if (SkipOperator("=")) {
    PREFIXD_ASSIGN_OR_RETURN(statement->expression, ParseTuple(/*with_conditional=*/true));
    return absl::OkStatus();
  }
  statement->kind = StatementKind::kSetBlock;
  if (SkipOperator("|")) {
    PREFIXD_ASSIGN_OR_RETURN(statement->expression, ParseFilterChain(nullptr));
  }
  PREFIXD_ASSIGN_OR_RETURN(statement->body, ParseBody({"endset"}));
  Next();
  return absl::OkStatus();
}

absl::Status Parser::ParseWith(Statement* statement) {
  while (Peek().kind != Token::Kind::kBlockEnd) {
    if (!statement->assignments.empty()) PREFIXD_RETURN_IF_ERROR(Expect(","));
    PREFIXD_ASSIGN_OR_RETURN(std::string name, ExpectName());
    PREFIXD_RETURN_IF_ERROR(Expect("="));
    PREFIXD_ASSIGN_OR_RETURN(ExpressionPtr value, ParseExpression());
    statement->assignments.emplace_back(std::move(name), std::move(value));
  }
  PREFIXD_ASSIGN_OR_RETURN(statement->body, ParseBody({"endwith"}));
  Next();
  return absl::OkStatus();
}

absl::Status Parser::ParseParameters(Statement* statement) {
  PREFIXD_RETURN_IF_ERROR(Expect("("));
  bool first = true;
  while (!SkipOperator(")")) {
    if (!first) PREFIXD_RETURN_IF_ERROR(Expect(","));
    if (!first && SkipOperator(")")) break;
    first = false;
    Statement::Parameter parameter;
    PREFIXD_ASSIGN_OR_RETURN(parameter.name, ExpectName());
    if (SkipOperator("=")) {
      PREFIXD_ASSIGN_OR_RETURN(parameter.standard, ParseExpression());
    } else if (!statement->parameters.empty() && statement->parameters.back().standard) {
      return Malformed("a parameter without default after one with");
    }
    statement->parameters.push_back(std::move(parameter));
  }
  return absl::OkStatus();
}

absl::Status Parser::ParseCalledBody(Statement* statement, absl::string_view end) {
  const int loops = loops_;
  loops_ = 0;
  absl::StatusOr<Block> body = ParseBody({end});
  loops_ = loops;
  PREFIXD_ASSIGN_OR_RETURN(statement->body, std::move(body));
  Next();
  return absl::OkStatus();
}

absl::Status Parser::ParseMacro(Statement* statement) {
  PREFIXD_ASSIGN_OR_RETURN(statement->name, ExpectName());
  PREFIXD_RETURN_IF_ERROR(ParseParameters(statement));
  Statement* const outer = macro_;
  macro_ = statement;
  const absl::Status status = ParseCalledBody(statement, "endmacro");
  macro_ = outer;
  return status;
}

absl::Status Parser::ParseCallBlock(Statement* statement) {
  if (IsOperator("(")) PREFIXD_RETURN_IF_ERROR(ParseParameters(statement));
  PREFIXD_ASSIGN_OR_RETURN(statement->expression, ParseExpression());
  if (statement->expression->kind != Expression::Kind::kCall) {
    return Malformed("{% call %} without a call");
  }
  return ParseCalledBody(statement, "endcall");
}

absl::Status Parser::ParseFilterBlock(Statement* statement) {
  PREFIXD_ASSIGN_OR_RETURN(statement->expression, ParseFilterChain(nullptr));
  PREFIXD_ASSIGN_OR_RETURN(statement->body, ParseBody({"endfilter"}));
  Next();
  return absl::OkStatus();
}

absl::StatusOr<Block> ParseTemplate(absl::string_view source) {
  if (source.size() > kMaxTemplateBytes) {
    return SyntaxError(absl::StatusCode::kInvalidArgument, 1,
                       absl::StrCat("the template has ", source.size(), " bytes, the limit is ",
                                    kMaxTemplateBytes));
  }
  if (!IsValidUtf8(source)) {
    return SyntaxError(absl::StatusCode::kInvalidArgument, 1, "the template is not valid UTF-8");
  }
  PREFIXD_ASSIGN_OR_RETURN(std::vector<Token> tokens, Tokenize(source));
  return Parser(std::move(tokens)).ParseAll();
}

}  // namespace prefixd::jinja
