#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "app/canvas_view.h"
#include "decoding/decoder.h"

namespace lacuna {

/// Runs a request on an idle decoder, drawn on `view` (null: not). On a terminal each canvas stays
/// for a moment, or those of a small model would be gone before anything was seen. The drawing is
/// taken off again, or kept without highlights. Errors as Decoder's.
DecodingResult decode_live(Decoder& decoder, const DecodingRequest& request, CanvasView* view,
                           const std::string& title, bool keep);

}  // namespace lacuna
