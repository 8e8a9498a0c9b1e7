#include "app/live_decoding.h"

#include <chrono>
#include <thread>

#include "decoding/generate.h"

namespace lacuna {
namespace {

using Clock = std::chrono::steady_clock;

/// The least time between two canvases.
constexpr std::chrono::milliseconds kFrame{40};

}  // namespace

DecodingResult decode_live(Decoder& decoder, const DecodingRequest& request, CanvasView* view,
                           const std::string& title, bool keep) {
  if (!view) return decode(decoder, {request}).front();
  const std::int64_t id = decoder.add(request);
  view->begin(title, std::int64_t(request.tokens.size()), decoder.state(id));
  Clock::time_point drawn = Clock::now();
  const auto observer = [&](const DecodingStep& step) {
    if (view->redraws()) std::this_thread::sleep_until(drawn + kFrame);
    view->show(step);
    drawn = Clock::now();
  };
  while (!decoder.idle()) decoder.step(observer);
  view->end(keep);
  return decoder.collect().front();
}

}  // namespace lacuna
