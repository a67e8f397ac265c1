#include <algorithm>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/status_macros.h"
#include "client/prefixctl/commands.h"
#include "client/prefixctl/exit_code.h"
#include "client/prefixctl/explain.h"
#include "client/prefixctl/full_screen.h"
#include "client/prefixctl/top_view.h"

namespace prefixd::ctl {
namespace {

constexpr int kMaxCells = 4096;  // Of the server.

absl::StatusOr<TopSample> Look(Client* client, const TopStyle& style) {
  const MonotonicClock clock;
  TopSample sample;
  PREFIXD_ASSIGN_OR_RETURN(sample.info, client->GetServerInfo());
  sample.time = clock.Now();
  PREFIXD_ASSIGN_OR_RETURN(sample.cache, client->GetCacheStats());
  PREFIXD_ASSIGN_OR_RETURN(sample.requests, client->ListRequests());
  auto map = client->GetPageMap(std::clamp(style.columns * MapRows(style), 1, kMaxCells));
  // An older server has no map; the rest is worth showing.
  if (map.ok()) {
    sample.map = *std::move(map);
  } else if (!absl::IsUnimplemented(map.status())) {
    return map.status();
  }
  return sample;
}

// Two looks, so that rates are known; one frame of them without any escape code.
int PrintOnce(Session* session, TopStyle style) {
  style.color = false;
  const auto before = Look(session->client.get(), style);
  if (!before.ok()) return Fail(session, before.status());
  std::this_thread::sleep_for(absl::ToChronoMilliseconds(session->options.interval));
  const auto now = Look(session->client.get(), style);
  if (!now.ok()) return Fail(session, now.status());
  for (const std::string& line : RenderTop(*now, &*before, style)) PrintLine(line);
  return kExitOk;
}

// Looks again unless it is paused. A look that fails leaves the last one in sight.
void Refresh(Session* session, TopStyle* style, TopSample* now, std::optional<TopSample>* before) {
  auto next = Look(session->client.get(), *style);
  if (next.ok()) {
    *before = std::exchange(*now, *std::move(next));
    style->error.clear();
  } else {
    style->error = Explain(next.status(), session->options.server).message;
  }
}

int Watch(Session* session, TopStyle style) {
  const MonotonicClock clock;
  auto first = Look(session->client.get(), style);
  if (!first.ok()) return Fail(session, first.status());
  TopSample now = *std::move(first);
  std::optional<TopSample> before;
  style.keys = true;
  FullScreen screen;
  const Interrupts::Scope scope(session->interrupts, [&] { screen.Interrupt(); });
  absl::Time next = clock.Now() + session->options.interval;
  while (true) {
    const FullScreen::Size size = screen.size();
    style.columns = size.columns;
    style.rows = size.rows;
    if (!screen.Draw(RenderTop(now, before ? &*before : nullptr, style))) return kExitFailed;
    char key = 0;
    const absl::Duration left = style.paused ? absl::Hours(1) : next - clock.Now();
    switch (screen.Wait(left, &key)) {
      case FullScreen::Input::kTimeout:
        if (!style.paused) Refresh(session, &style, &now, &before);
        next = clock.Now() + session->options.interval;
        break;
      case FullScreen::Input::kKey:
        if (key == 'q') return kExitOk;
        if (key == 'p') {
          style.paused = !style.paused;
          next = clock.Now();
        }
        break;
      case FullScreen::Input::kResize:
        break;
      case FullScreen::Input::kInterrupt:
        return kExitInterrupted;
      case FullScreen::Input::kGone:
        return kExitFailed;
    }
  }
}

}  // namespace

int RunTop(Session* session) {
  const Terminal& terminal = session->terminal;
  const TopStyle style{
      .columns = terminal.width, .utf8 = terminal.utf8, .color = terminal.stdout_color};
  if (session->options.once || !terminal.stdout_tty) return PrintOnce(session, style);
  return Watch(session, style);
}

}  // namespace prefixd::ctl
