#include "client/generate_stream.h"

#include <utility>

#include "base/check.h"
#include "client/call_status.h"

namespace prefixd {

GenerateStream::GenerateStream(std::unique_ptr<grpc::ClientContext> context,
                               std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader)
    : context_(std::move(context)), reader_(std::move(reader)) {}

GenerateStream::~GenerateStream() {
  if (finished_) return;
  Cancel();
  static_cast<void>(Finish());
}

bool GenerateStream::Read(v1::GenerateResponse* event) { return reader_->Read(event); }

absl::Status GenerateStream::Finish() {
  PREFIXD_CHECK(!finished_);
  finished_ = true;
  // gRPC wants the stream read to its end before its status.
  v1::GenerateResponse rest;
  while (reader_->Read(&rest)) {
  }
  return FromGrpcStatus(reader_->Finish());
}

void GenerateStream::Cancel() { context_->TryCancel(); }

}  // namespace prefixd
