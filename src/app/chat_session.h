#pragma once
#include <memory>
#include <optional>
#include <string>

#include "app/canvas_view.h"
#include "data/chat_template.h"
#include "decoding/decoder.h"
#include "model_io/loaded_model.h"

namespace lacuna {

/// A conversation with a fine-tuned model: what was said, and what it says next.
class ChatSession {
 public:
  /// Borrows all. `show`: the canvas is drawn on standard error while a reply is made. UsageError
  /// when replies of options.gen_length tokens leave no room in the model's length.
  ChatSession(const LoadedModel& model, const DecodingOptions& options, const ChatTemplate& chat,
              bool show);

  /// The reply to `text`, both kept as history. When the conversation no longer fits, its oldest
  /// turns are forgotten, which is told in the log; Error when the last one alone does not fit.
  std::string ask(const std::string& text);
  void forget() { history_.clear(); }

 private:
  std::vector<std::int32_t> prompt();

  const ModelSource& source_;
  DecodingOptions options_;
  std::int64_t replies_ = 0;
  ChatFormat format_;
  std::unique_ptr<Decoder> decoder_;
  std::optional<CanvasView> view_;
  Dialogue history_;
};

/// Reads lines from standard input until it ends or says /quit, and prints a reply to each; /new
/// begins a new conversation. On a terminal it prompts.
void converse(ChatSession& session);

}  // namespace lacuna
