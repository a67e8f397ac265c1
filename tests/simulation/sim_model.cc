#include "tests/simulation/sim_model.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace prefixd::simulation {

std::string SimModel::NameOf(const Core::Table& table) {
  return absl::StrCat("request ", table.request->spec.id, " choice ", table.choice);
}

// --- Images

class SimModel::Encoding final : public ImageEncoding {
 public:
  Encoding(SimModel* model, LiveRequest* request, int64_t owner, int64_t media)
      : model_(model),
        request_(request),
        owner_(owner),
        media_(media),
        steps_left_(static_cast<int>(model->config_.tower_steps)) {
    request_->encoding = true;
  }
  ~Encoding() override { request_->encoding = false; }

  int steps_left() const override { return steps_left_; }
  int rows_per_step() const override { return static_cast<int>(model_->config_.tower_rows); }
  absl::Status Step() override {
    model_->in_step_.push_back(request_);
    model_->CheckRequest(*request_, 0);
    // One that is not begun counts as the rows that the image will have.
    model_->parts_.serve(*request_, begun_ ? rows_per_step() : model_->config_.image_rows);
    begun_ = true;
    model_->parts_.report->Trace(static_cast<uint64_t>(owner_ * 64 + media_));
    if (model_->parts_.faults->image_failures > 0) {
      --model_->parts_.faults->image_failures;
      request_->image_must_fail = true;
      return absl::InternalError("injected: the tower failed");
    }
    --steps_left_;
    return absl::OkStatus();
  }
  OwnedTensor TakeFeatures() override {
    ++request_->images_encoded;
    const int64_t rows = model_->config_.image_rows;
    OwnedTensor features = *model_->parts_.backend->NewTensor(rows, 1);
    for (int64_t row = 0; row < rows; ++row) {
      const auto value = static_cast<float>(FeatureValue(owner_, media_, row));
      (void)model_->parts_.backend->Upload({&value, 1}, features.view.Rows(row, 1));
    }
    return features;
  }

 private:
  SimModel* const model_;
  LiveRequest* const request_;
  const int64_t owner_, media_;
  int steps_left_;
  bool begun_ = false;
};

absl::StatusOr<std::unique_ptr<ImageEncoding>> SimModel::StartImage(
    absl::Span<const float> pixels) {
  LiveRequest* const request = parts_.find_request(static_cast<int64_t>(pixels[2]));
  return std::make_unique<Encoding>(this, request, static_cast<int64_t>(pixels[0]),
                                    static_cast<int64_t>(pixels[1]));
}

// --- A step

SimModel::SimModel(const Config& config, std::vector<int64_t> durations, Parts parts)
    : config_(config),
      durations_(std::move(durations)),
      parts_(std::move(parts)),
      claims_(static_cast<size_t>(config.pages)),
      row_logits_(static_cast<size_t>(config.vocab)) {
  spec_.family = "simulated";
  spec_.num_layers = static_cast<int>(config.layers);
  spec_.num_heads = spec_.num_kv_heads = 1;
  spec_.head_dim = 2;
  spec_.hidden_size = 1;
  spec_.vocab_size = static_cast<int32_t>(config.vocab);
  spec_.context_length = static_cast<int32_t>(config.context);
  spec_.image = ImageSpec{.token_id = static_cast<int32_t>(config.vocab - 1),
                          .tokens_per_image = static_cast<int32_t>(config.image_rows)};
  spec_.generation.eos_token_ids = {kEos};
}

void SimModel::BeginStep() {
  in_step_.clear();
  parts_.backend->BeginStep();
}

absl::Status SimModel::Forward(const Batch& batch, const KvView& kv, const Tensor& logits) {
  prompts_done_.clear();
  core_->FindTables(&tables_);
  core_->CountClaims(tables_, absl::MakeSpan(claims_));
  CheckBatch(batch, kv);
  if (!parts_.report->failed()) ComputeRows(batch, kv);
  if (!parts_.report->failed()) WriteLogits(batch, logits);
  PassTime();
  if (std::exchange(parts_.faults->forward_fails, false)) return FailForward();
  for (const LiveRequest* request : prompts_done_) parts_.prompt_done(*request);
  return absl::OkStatus();
}

void SimModel::PassTime() {
  const int64_t duration = durations_[num_steps_++ % durations_.size()];
  parts_.clock->Advance(absl::Microseconds(duration + std::exchange(parts_.faults->slow_us, 0)));
}

absl::Status SimModel::FailForward() {
  std::sort(in_step_.begin(), in_step_.end(),
            [](const auto* a, const auto* b) { return a->arrival < b->arrival; });
  in_step_.erase(std::unique(in_step_.begin(), in_step_.end()), in_step_.end());
  if (in_step_.size() > 1) parts_.report->Reach(Mark::kForwardFailed);
  if (parts_.backend->num_copies() > 0) parts_.report->Reach(Mark::kForwardFailedCopies);
  for (LiveRequest* const request : in_step_) {
    request->must_fail = true;
    if (request->encoding) parts_.report->Reach(Mark::kForwardFailedEncoding);
  }
  return absl::InternalError("injected: the step failed");
}

// What may be computed for a request at all.
void SimModel::CheckRequest(const LiveRequest& request, int32_t num_rows) {
  const auto fail = [&](absl::string_view rule, absl::string_view what) {
    parts_.report->Fail(rule, absl::StrCat(num_rows, " rows of request ", request.spec.id, " are ",
                                           "computed although ", what));
  };
  if (request.ended) fail("I19", "it ended");
  if (!request.started) fail("I19", "it was not scheduled");
  if (request.must_end) fail("I25", "it was cancelled");
  if (parts_.clock->Now() >= request.deadline) fail("I27", "its deadline passed");
  // Whoever starts in this step, or starts again, may do so before anybody asks its reader.
  const bool ran =
      request.ran_before_step && core_->LookAt(request).preemptions == request.preemptions;
  if (request.stalled && ran) {
    fail("parking", "its reader is too far behind");
  }
}

// The limits of a step, and that each table is in it once, whole, and private where it is written.
void SimModel::CheckBatch(const Batch& batch, const KvView& kv) {
  Report* const report = parts_.report;
  const auto num_rows = static_cast<int64_t>(batch.token_ids.size());
  if (num_rows > config_.max_batch + 1) {
    report->Fail("I22", absl::StrCat(num_rows, " rows in a step of at most ", config_.max_batch));
  }
  const auto num_logits = static_cast<int64_t>(batch.logit_rows.size());
  if (num_logits > 2 * config_.max_running) {
    report->Fail("I22", absl::StrCat(num_logits, " rows of logits in a step"));
  }
  if (num_rows >= config_.max_batch) report->Reach(Mark::kFullBatch);
  segment_tables_.clear();
  row_tables_.assign(batch.token_ids.size(), nullptr);
  for (const KvSegment& segment : kv.layers[0]) {
    const Core::Table* const table = TableOf(segment);
    if (table == nullptr) return report->Fail("I21", "rows are computed for no live table");
    if (std::count(segment_tables_.begin(), segment_tables_.end(), table) > 0) {
      report->Fail("I22", absl::StrCat(NameOf(*table), " is in a step twice"));
    }
    segment_tables_.push_back(table);
    in_step_.push_back(table->request);
    CheckRequest(*table->request, segment.num_rows);
    const int64_t chunk = config_.chunk > 0 ? config_.chunk : config_.max_batch;
    if (segment.num_rows > std::max<int64_t>(chunk, 1)) {
      report->Fail("I22", absl::StrCat(NameOf(*table), " computes ", segment.num_rows,
                                       " rows in chunks of ", chunk));
    }
    for (int32_t i = 0; i < segment.num_rows; ++i) row_tables_[segment.row_begin + i] = table;
  }
  for (const Core::Table* const table : row_tables_) {
    if (table == nullptr) return report->Fail("I21", "a row of a step belongs to nobody");
  }
  for (size_t layer = 1; layer < kv.layers.size(); ++layer) {
    for (size_t i = 0; i < kv.layers[layer].size(); ++i) {
      if (kv.layers[layer][i].pages.data() !=
          segment_tables_[i]->pages(static_cast<int>(layer)).data()) {
        report->Fail("I21", absl::StrCat("layer ", layer, " reads another table than layer 0"));
      }
    }
  }
}

const Core::Table* SimModel::TableOf(const KvSegment& segment) const {
  for (const Core::Table& table : tables_) {
    if (table.pages(0).data() == segment.pages.data()) return &table;
  }
  return nullptr;
}

// Follows each row's chain from what the row itself brings, then writes and reads layer by layer.
void SimModel::ComputeRows(const Batch& batch, const KvView& kv) {
  row_chain_.resize(batch.token_ids.size());
  std::vector<float> features(batch.token_ids.size(), -1.0f);
  for (const FeatureRows& rows : batch.features) {
    for (int32_t i = 0; i < rows.count; ++i) {
      (void)parts_.backend->Download(rows.features.Rows(rows.feature_begin + i, 1),
                                     {&features[rows.row_begin + i], 1});
    }
    if (rows.feature_begin > 0) parts_.report->Reach(Mark::kChunkInsideImage);
  }
  std::string wrong_row;
  for (size_t i = 0; i < segment_tables_.size(); ++i) {
    const KvSegment& segment = kv.layers[0][i];
    const Core::Table& table = *segment_tables_[i];
    LiveRequest* const request = table.request;
    const int choice = table.choice;
    const int32_t first = FirstPosition(segment, table);
    uint64_t view = table.compressed() ? ViewBefore(kv, i) : 0;
    ChainHash chain =
        first == 0 ? request->oracle.root() : request->oracle.Chain(choice, first - 1);
    for (int32_t r = 0; r < segment.num_rows; ++r) {
      const int32_t row = segment.row_begin + r, position = first + r;
      if (table.compressed()) chain = ChainOfView(view);
      chain = features[row] >= 0 ? ExtendByFeature(chain, static_cast<int64_t>(features[row]))
                                 : ExtendByToken(chain, batch.token_ids[row]);
      row_chain_[row] = chain;
      for (int layer = 0; table.compressed() && layer < config_.layers; ++layer) {
        view += SeenSlot(layer, chain, position);
      }
      if (chain != request->oracle.Chain(choice, position) || batch.positions[row] != position) {
        wrong_row = absl::StrCat(NameOf(table), ": the row of position ", position, " holds token ",
                                 batch.token_ids[row], ", feature ", features[row], ", position ",
                                 batch.positions[row]);
        // Under a budget slots say more of what is wrong.
        if (!table.compressed()) parts_.report->Fail("input", wrong_row);
      }
      if (position < request->oracle.prompt_rows()) ++request->computed_rows;
    }
    NoteBudget(first, table);
    if (choice == 0) CountRows(first, first + segment.num_rows, request);
    parts_.serve(*request, segment.num_rows);
    parts_.report->Trace(static_cast<uint64_t>(request->spec.id) << 32 |
                         static_cast<uint64_t>(first) << 8 |
                         static_cast<uint64_t>(segment.num_rows));
  }
  for (size_t layer = 0; layer < kv.layers.size(); ++layer) {
    const int index = static_cast<int>(layer);
    for (size_t i = 0; i < segment_tables_.size(); ++i) {
      WriteSegment(kv.layers[layer][i], index, *segment_tables_[i]);
    }
    for (size_t i = 0; i < segment_tables_.size(); ++i) {
      ReadSegment(kv.layers[layer][i], index, *segment_tables_[i]);
    }
  }
  if (!wrong_row.empty()) parts_.report->Fail("input", wrong_row);
}

// Whatever lies before the first row and was not computed came from the cache.
void SimModel::CountRows(int32_t begin, int32_t end, LiveRequest* request) {
  const int32_t prompt = request->oracle.prompt_rows();
  const int32_t covered = request->covered_rows;
  const int32_t hits = std::max(0, std::min(begin, prompt) - covered);
  if (hits > 0) NoteHit(begin, *request);
  if (request->column_waited) {
    const bool adopted = request->hit_rows + hits > request->hits_when_waiting;
    parts_.report->Reach(adopted ? Mark::kWaiterAdopted : Mark::kWaiterPromoted);
    request->column_waited = false;
  }
  request->hit_rows += hits;
  request->first_computed_rows += std::max(0, std::min(end, prompt) - std::max(begin, covered));
  if (covered < prompt && end >= prompt && request->spec.pin == 0) {
    prompts_done_.push_back(request);
  }
  request->covered_rows = std::max(covered, std::min(end, prompt));
}

void SimModel::NoteHit(int32_t end, const LiveRequest& request) {
  parts_.report->Reach(Mark::kHit);
  if (end % kPageSlots != 0) parts_.report->Reach(Mark::kPartialHit);
  for (const Oracle::Image& image : request.oracle.images()) {
    const bool inside = image.row_begin < end && end < image.row_begin + config_.image_rows;
    if (inside) parts_.report->Reach(Mark::kHitInsideImage);
  }
}

// Whether a token is sampled from this row. Under a budget those that were sent before preemption
// are taken as they are.
bool SimModel::YieldsNew(const Core::Table& table, int32_t position) {
  const LiveRequest& request = *table.request;
  if (!request.oracle.budgeted()) return true;
  const int32_t index = position - request.oracle.prompt_rows() + 1;
  if (index > 0) return request.choices[static_cast<size_t>(table.choice)].tokens <= index;
  return std::any_of(request.choices.begin(), request.choices.end(),
                     [](const auto& choice) { return choice.tokens == 0; });
}

void SimModel::WriteLogits(const Batch& batch, const Tensor& logits) {
  const size_t count = batch.logit_rows.size();
  const int64_t nan_row = parts_.faults->nan_row;
  for (size_t i = 0; i < count; ++i) {
    const int32_t row = batch.logit_rows[i];
    FillLogits(row_chain_[row], absl::MakeSpan(row_logits_));
    if (nan_row >= 0 && static_cast<size_t>(nan_row) % count == i) {
      row_logits_[row_logits_.size() / 2] = std::numeric_limits<float>::quiet_NaN();
      if (YieldsNew(*row_tables_[row], batch.positions[row])) {
        row_tables_[row]->request->must_fail = true;
      }
      if (count > 1) parts_.report->Reach(Mark::kNotFinite);
    }
    (void)parts_.backend->Upload(row_logits_, logits.Rows(static_cast<int64_t>(i), 1));
  }
  if (count > 0) parts_.faults->nan_row = -1;
}

}  // namespace prefixd::simulation
